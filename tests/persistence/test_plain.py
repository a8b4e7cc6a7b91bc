"""Plain values come back as they were; what is none is refused."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import math
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from comparing import assert_same

from sklrec._persistence.plain import pack_plain, unpack_plain

Pair = namedtuple("Pair", "a b")
VALUES = [
    *(None, True, 0, -1, 2**4095, 0.1, -0.0, math.nan, math.inf, -math.inf, "", "\ud800é", b"\0"),
    *([], [1, [2.5, (None, ())]], (1,), {"a": {2: ("|",)}, ("x", 1): []}, {}),
    *(
        np.int32(5),
        np.float16(0.1),
        np.bool_(True),
        np.str_("é"),
        np.bytes_(b"x"),
        np.uint64(2**63),
    ),
    *(np.datetime64("2024-01-01", "D"), np.timedelta64(-5, "ns"), np.float64(np.inf)),
    *(np.array([1, 2], np.int16), np.array([0.5]), np.array([True]), np.array(["a", "bcd"])),
    *(
        np.array([b"a"]),
        np.array([1, "a", None, (2,)], dtype=object),
        np.array([], dtype=object),
        np.array([]),
    ),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back(value):
    packed = json.loads(json.dumps(pack_plain(value), allow_nan=False))
    assert_same(unpack_plain(packed), value)


def nested(n):
    value = []
    for _ in range(n):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (Pair(1, 2), "of type Pair"),
        (OrderedDict(), "of type OrderedDict"),
        (2**4096, "of type int"),
        (1j, "of type complex"),
        (print, "of type builtin_function_or_method"),
        (np.zeros((2, 2)), "of type ndarray"),
        (np.longdouble(1), "of dtype|of type longdouble"),
        (np.complex64(1), "of dtype complex64"),
        (np.array([1j]), "of dtype complex128"),
        (nested(17), "nested more than 16 times"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_other_values_are_refused(value, problem):
    with pytest.raises(TypeError, match=problem):
        pack_plain(value)


@pytest.mark.parametrize(
    "packed",
    [
        {},
        {"tuple": 5},
        {"dict": [[1]]},
        {"dict": [[[], 1]]},
        {"frozenset": [[]]},
        {"array": ["O"]},
        {"array": ["U", [1]]},
        {"array": ["int8", [1, 1.5]]},
        {"array": ["V99999999", []]},
        {"array": [["int8"], []]},
        {"numpy": ["int8", 1000]},
        {"numpy": ["S", "a"]},
        {"numpy": ["float64", True]},
        {"float": 5},
        {"bytes": "*"},
        {"datetime": ["2024", 0, "x"]},
        {"datetime": ["2024-01-01", 5, None]},
        {"date": "x"},
        {"timedelta": [10**12, 0, 0]},
        {"timestamp": ["1", "ns", None]},
        {"timestamp": [1, "Y", None]},
        {"timestamp": [2**70, "ns", None]},
        {"pandas timedelta": [1.5, "s"]},
        {"pandas timedelta": [1]},
        {"decimal": "x"},
        {"uuid": "x"},
        {"uuid": 5},
        2**4096,
        math.inf,
        nested(17),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_descriptions_of_nothing_are_refused(packed):
    with pytest.raises((ValueError, TypeError, KeyError, ArithmeticError, AttributeError)):
        unpack_plain(packed)
