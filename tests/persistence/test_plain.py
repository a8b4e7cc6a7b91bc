"""Plain values come back as they were; other values are refused."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import math
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from comparing import assert_same

from sklrec._persistence.plain import pack_plain, unpack_plain

Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -1, 2**4095, 0.1, -0.0, math.nan, math.inf, -math.inf, "", "\ud800é"),
        *(b"\0", [], [1, [2.5, (None, ())]], (1,), {"a": {2: ("|",)}, ("x", 1): []}, {}),
        *(np.int32(5), np.float16(0.1), np.bool_(True), np.str_("é"), np.bytes_(b"x")),
        *(np.float64(np.inf), np.array([1, 2], np.int16), np.array(["a", "bcd"]), np.eye(2)),
        *(np.array([1, "a", None, (2,)], dtype=object), np.array([])),
    ],
    ids=repr,
)
def test_values_come_back(value):
    packed = json.loads(json.dumps(pack_plain(value), allow_nan=False))
    assert_same(unpack_plain(packed), value)


@pytest.mark.parametrize(
    "value",
    [
        *(Pair(1, 2), OrderedDict(), 1j, print, np.longdouble(1), np.complex64(1), {1}),
        *(np.array([1j]), np.datetime64("2024-01-01"), np.array([1, print], dtype=object)),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_other_values_are_refused(value):
    with pytest.raises(TypeError, match="of type"):
        pack_plain(value)


@pytest.mark.parametrize(
    "packed",
    [
        *({}, {"tuple": 5}, {"dict": [[1]]}, {"dict": [[[], 1]]}, {"float": "x"}, {"bytes": "é"}),
        *({"datetime": ["2024", 0, "x"]}, {"datetime": ["2024-01-01", 5, None]}, {"date": "x"}),
        *({"timedelta": [10**12, 0, 0]}, {"timestamp": ["x", "ns", None]}),
        *({"timestamp": [1, "Y", None]}, {"timestamp": [2**70, "ns", None]}),
        *({"pandas timedelta": ["x", "s"]}, {"pandas timedelta": [1]}),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_wrong_descriptions_are_refused(packed):
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        unpack_plain(packed)
