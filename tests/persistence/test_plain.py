"""Plain values come back as they were; other values are refused."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import math
from collections import namedtuple

import numpy as np
import pytest
from comparing import assert_same

from sklrec._utils.state.plain import PARAMETER_CODECS, pack_plain, unpack_plain

Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 2**4095, 0.1, -0.0, math.nan, -math.inf, "\ud800é", b"\0", [], {}),
        *([1, [2.5, (None, ())]], {"a": {2: ("|",)}, ("x", 1): []}, np.bool_(True), np.str_("é")),
        *(np.float64(np.inf), np.array(["a", "bcd"]), np.array([1, "a", None, (2,)], object)),
    ],
    ids=repr,
)
def test_values_come_back(value):
    packed = json.loads(json.dumps(pack_plain(value, PARAMETER_CODECS), allow_nan=False))
    assert_same(unpack_plain(packed, PARAMETER_CODECS), value)


@pytest.mark.parametrize("value", [Pair(1, 2), print, np.longdouble(1), {1}, np.array([1j])])
def test_other_values_are_refused(value):
    with pytest.raises(TypeError, match="of type"):
        pack_plain(value, PARAMETER_CODECS)


@pytest.mark.parametrize(
    "packed",
    [
        *({}, {"tuple": 5}, {"dict": [[1]]}, {"dict": [[[], 1]]}, {"float": "x"}, {"bytes": "é"}),
        *({"datetime": ["2024-01-01", 5, None]}, {"date": "x"}, {"timedelta": [10**12, 0, 0]}),
        *({"timestamp": [1, "Y", None]}, {"timestamp": [2**70, "ns", None]}),
        {"pandas timedelta": ["x", "s", None]},
    ],
)
def test_wrong_descriptions_are_refused(packed):
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        unpack_plain(packed, PARAMETER_CODECS)
