"""Columns of timestamps."""
# SPDX-License-Identifier: BSD-3-Clause

from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from sklrec._data.timestamps import read_timestamps, timestamp_kind

DAY = 86_400 * 10**9  # nanoseconds
ZONED = "datetimes with a time zone"
TOKYO = timezone(timedelta(hours=9))


def objects(*values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("values", "read", "dtype"),
    [
        (np.array([3, 1], dtype=np.int8), [3, 1], np.int64),
        (np.array([3, 2**63 - 1], dtype=np.uint64), [3, 2**63 - 1], np.int64),
        (np.array([2**53, 2**53 + 1]), [2**53, 2**53 + 1], np.int64),
        (np.array([0.5, -2], dtype=np.float32), [0.5, -2], np.float64),
        (pd.array([3, 1], dtype="Int64"), [3, 1], np.int64),
        (pd.array([3, 0.5], dtype="Float32"), [3, 0.5], np.float64),
        (pd.arrays.SparseArray([0, 4]), [0, 4], np.int64),
        (pd.Categorical([7, 5, 7]), [7, 5, 7], np.int64),
        (objects(3, np.int64(1)), [3, 1], np.int64),
        (objects(2**53, 2**53 + 1), [2**53, 2**53 + 1], np.int64),
        (objects(3, 0.5), [3, 0.5], np.float64),
        (objects(Fraction(1, 2), 1), [0.5, 1], np.float64),
    ],
    ids=str,
)
def test_numbers_stay_as_they_are(values, read, dtype):
    times = read_timestamps(values, "timestamp")
    assert times.dtype == dtype
    assert times.tolist() == read
    assert timestamp_kind(values, "timestamp") == "numbers"
    assert read_timestamps(values, "timestamp", "numbers").tolist() == read


TWO_DAYS = ["1970-01-02", "1970-01-01"]


@pytest.mark.parametrize(
    "values",
    [
        *(np.array(TWO_DAYS, dtype=f"datetime64[{unit}]") for unit in ("D", "s", "us", "ns")),
        pd.DatetimeIndex(TWO_DAYS, tz="UTC").array,
        pd.DatetimeIndex(["1970-01-02 09:00", "1970-01-01 09:00"], tz="Asia/Tokyo").array,
        pd.Categorical(pd.DatetimeIndex(TWO_DAYS)),
        pd.Categorical(pd.DatetimeIndex(TWO_DAYS, tz="UTC")),
        objects(datetime(1970, 1, 2), datetime(1970, 1, 1)),
        objects(pd.Timestamp(1970, 1, 2, tz="UTC"), datetime(1970, 1, 1, tzinfo=UTC)),
        objects(datetime(1970, 1, 2, 9, tzinfo=TOKYO), pd.Timestamp(1970, 1, 1, tz="UTC")),
        objects(date(1970, 1, 2), date(1970, 1, 1)),
        objects(np.datetime64("1970-01-02"), np.datetime64("1970-01-01T00:00:00")),
        objects(np.datetime64("1970-01-02"), pd.Timestamp(1970, 1, 1)),
    ],
    ids=lambda values: f"{values.dtype}",
)
def test_datetimes_become_nanoseconds_in_utc(values):
    times = read_timestamps(values, "timestamp")
    assert times.dtype == np.int64
    assert times.tolist() == [DAY, 0]
    kind = timestamp_kind(values, "timestamp")
    zoned = getattr(values[0], "tzinfo", None) is not None
    assert kind == (ZONED if zoned else "datetimes")
    assert read_timestamps(values, "timestamp", kind).tolist() == [DAY, 0]


def test_nanoseconds_are_exact():
    values = pd.DatetimeIndex(["2020-01-01T00:00:00.000000001", "2020-01-01"])
    for given in (values.to_numpy(), values.tz_localize("UTC").array, objects(*values)):
        assert np.diff(read_timestamps(given, 0)).tolist() == [-1]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            np.array([1, np.nan]),
            "NaN.\nColumn 'when' holds nan in row 1. In all, 1 of the rows 0 ",
        ),
        (pd.array([1, None], dtype="Int64"), r"NaN\.\nColumn 'when' holds <NA> in row 1"),
        (np.array(["2020", "NaT"], dtype="M8[s]"), r"NaN\.\nColumn 'when' holds .*NaT.* in row 1"),
        (objects(1, None), r"NaN\.\nColumn 'when' holds None in row 1"),
        (objects(pd.Timestamp(0), pd.NaT), r"NaN\.\nColumn 'when' holds NaT in row 1"),
        (objects("x", None), r"NaN\.\nColumn 'when' holds None in row 1"),
        (pd.Categorical([7, None]), r"NaN\.\nColumn 'when' holds nan in row 1"),
        (
            np.array([1, -np.inf]),
            r"infinity\.\nColumn 'when' holds -inf in row 1\. .*: give these",
        ),
        (pd.array([1, np.inf], dtype="Float64"), r"infinity\.\nColumn 'when' holds inf in row 1"),
        (np.array([1, 2**63], dtype=np.uint64), "a number beyond int64.\nColumn 'when' holds 922"),
        (objects(1, -(2**80)), r"a number beyond int64\.\n.*: count from a later start, or in a"),
        (np.array(["2020", "9999"], dtype="M8[D]"), "a time out of range.\nColumn 'when' holds "),
        (
            objects(datetime(2020, 1, 1), datetime.min),
            r"a time out of range\.\n.*correct or drop these rows, since",
        ),
    ],
    ids=str,
)
def test_invalid_times_are_refused(values, text):
    with pytest.raises(ValueError, match=f"(?s)Input X contains {text}"):
        read_timestamps(values, "when")


def test_messages_count_rows_from_the_start_of_the_column():
    text = (
        r"Column 2 holds nan in row 11. In all, 2 of the rows 10 to 12 lack a timestamp: drop "
        r"these rows, or fill in when they were\."
    )
    for read in (read_timestamps, timestamp_kind):
        with pytest.raises(ValueError, match=text):
            read(np.array([1, np.nan, np.nan]), 2, first_row=10)
    with pytest.raises(TypeError, match="in row 6, and 1 in row 5"):
        read_timestamps(objects(1, pd.Timestamp(0)), "when", first_row=5)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.array(["1", "2"]), "holds '1' of type str in row 0. Timestamps are all n"),
        (pd.array(["2020-01-01"], dtype="str"), "holds '2020-01-01' of type str in row 0"),
        (objects(1, "2"), "holds '2' of type str in row 1. Timestamps are all numbers or all "),
        (objects(1, pd.Timestamp(0)), "of type Timestamp in row 1, and 1 in row 0. Timestamps "),
        (np.array([True, False]), "holds True of type bool in row 0"),
        (objects(pd.Timestamp(0), pd.Timestamp(0, tz="UTC")), "with a time zone or without"),
        (objects(1, True), r"holds True of type bool in row 1"),
        (pd.period_range("2020", periods=2).array, "of type Period in row 0"),
        (np.array([1, 2], dtype="m8[s]"), "of type timedelta64 in row 0"),
        (objects(1, np.timedelta64(1, "s")), "of type timedelta64 in row 1"),
        (objects({"a": 1}), r"holds \{'a': 1\} of type dict in row 0"),
        (pd.Categorical(["b", "a"]), "holds 'b' of type str in row 0"),
        (np.array([1], dtype="M8[ps]"), r"is of datetime64\[ps\], and times finer than nanosec"),
    ],
    ids=str,
)
def test_other_values_are_refused(values, text):
    with pytest.raises(TypeError, match=f"Column 'when' .*{text}"):
        read_timestamps(values, "when")


@pytest.mark.parametrize("dtype", [object, "int64", "datetime64[ns]"])
@pytest.mark.parametrize("kind", [None, "numbers", "datetimes"])
def test_an_empty_column_is_of_any_kind(dtype, kind):
    assert len(read_timestamps(np.empty(0, dtype=dtype), "when", kind)) == 0


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        (np.array([5]), "datetimes", r"got numbers \(such as 5\), which do not compare\. Conv"),
        (np.array([5]), "datetimes", "Convert it to datetimes without a time zone, for example"),
        (np.array(["2020"], "M8[s]"), "numbers", "got datetimes .* Convert it to numbers in the"),
        (np.array(["2020"], "M8[s]"), ZONED, "Convert it to datetimes with a time zone, for"),
        (pd.DatetimeIndex(["2020"], tz="UTC").array, "datetimes", f"got {ZONED} .such"),
    ],
)
def test_another_kind_than_in_fit_is_refused(values, kind, text):
    with pytest.raises(ValueError, match=f"Column 'when' was fitted on {kind} .*{text}"):
        read_timestamps(values, "when", kind)
