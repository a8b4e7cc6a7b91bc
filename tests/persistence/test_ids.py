"""IDs of every kind come back equal and in the same dtype."""
# SPDX-License-Identifier: BSD-3-Clause

import datetime as dt
import pickle
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from comparing import assert_same

import sklrec
from sklrec import IDEncoder
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.state.ids import IDs
from sklrec._utils.state.kinds import Part, Place
from sklrec._utils.versions import string_dtype

DAYS = pd.date_range("2024-02-28", periods=3, unit="us")
PARIS = ZoneInfo("Europe/Paris")
USHUAIA = ZoneInfo("America/Argentina/Ushuaia")
HOUR_EARLIER = dt.timezone(dt.timedelta(hours=-1, microseconds=5))


def objects(*values):
    return np.fromiter(values, object, len(values))


KINDS = {
    **{
        dtype: np.array([3, 1, 2], dtype=dtype)
        for dtype in ("int8", "int64", "uint16", "uint64", "float16", "float64", ">i4", ">f8")
    },
    "large": np.array([2**63, 2**64 - 1, 0], dtype="uint64"),
    "bool": np.array([True, False]),
    "U": np.array(["ann", "", "bob\0x", "日本"]),
    ">U": np.array(["ann", "bob"]).astype(">U9"),
    "lone surrogates in U": np.array(["\ud800a", "b"]),
    "S": np.array([b"ann", b"\xff\x01"]),
    "strings": objects("ann", "", "日本", "\ud800", "a\0"),
    "bytes": objects(b"ann", b"\xff\x00"),
    "str": pd.array(["ann", "日本"], dtype=string_dtype("pyarrow", np.nan)),
    "string": pd.array(["ann", "日本"], dtype="string"),
    "python strings": pd.array(["ann", "\ud800"], dtype="string[python]"),
    "python str": pd.array(["ann"], dtype=string_dtype("python", np.nan)),
    "Int64": pd.array([3, 1], dtype="Int64"),
    "UInt8": pd.array([3, 1], dtype="UInt8"),
    "Float32": pd.array([0.5, 1], dtype="Float32"),
    "boolean": pd.array([True, False], dtype="boolean"),
    "datetime64[us]": DAYS.to_numpy(),
    "datetime64[D]": np.array(["2024-01-01", "1900-05-05"], dtype="datetime64[D]"),
    "timedelta64[ns]": np.array([5, -5], dtype="timedelta64[ns]"),
    "UTC": DAYS.tz_localize("UTC").array,
    "zone": DAYS.tz_localize(PARIS).array,
    "offset": DAYS.tz_localize(HOUR_EARLIER).array,
    "seconds in a zone": DAYS.as_unit("s").tz_localize(USHUAIA).array,
    "categories": pd.Categorical(["b", "a"], categories=["a", "b", "c"], ordered=True),
    "categories of numbers": pd.Categorical([5, 3]),
    "categories of datetimes": pd.Categorical(DAYS.tz_localize(PARIS)),
    "categories of strings": pd.Categorical(np.array(["x", "y"], dtype=object)),
    "integers": objects(1, 2, -(10**30)),
    "floats": objects(0.5, -0.0, 1e-300),
    "mixed": objects("1", 1, 2.5, b"1", (1, "a", None, (2.5,))),
    "not finite inside": objects((np.inf, 1), (-np.inf, 2)),
    "scalars of numpy": objects(np.int8(1), np.float32(0.1), np.str_("a"), np.bytes_(b"b")),
    "datetimes": objects(
        dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=PARIS),
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2024, 1, 1, tzinfo=HOUR_EARLIER),
        dt.datetime(2024, 1, 1, microsecond=1),
        dt.date(2024, 1, 1),
        dt.timedelta(-1, 5, 7),
    ),
    "timestamps": objects(
        pd.Timestamp("2024-01-01T00:00:00.123456789"),
        pd.Timestamp("2024-06-01", tz=PARIS),
        pd.Timestamp("2024-06-01", tz="UTC"),
        pd.Timedelta(5, "ns"),
    ),
}


KIND = Part(Vocabulary)


def again(vocabulary):
    return KIND.unpack(KIND.pack(vocabulary, raw=False), Place())


@pytest.mark.parametrize("kind", KINDS)
def test_ids_come_back(kind):
    ids = KINDS[kind]
    found = again(Vocabulary(ids, "user", rare=None))
    # Numbers come back in the byte order of the machine.
    native = ids.astype(ids.dtype.newbyteorder("=")) if kind[0] == ">" else ids
    assert_same(found, Vocabulary(native, "user"))
    np.testing.assert_array_equal(found.codes(ids), np.arange(1, len(ids) + 1))

    with_rare, empty = Vocabulary(native[1:], 0, rare=native[:1]), Vocabulary(native[:0], 0)
    assert_same(again(with_rare), with_rare)
    assert_same(again(empty), empty)


def test_rare_ids_may_be_of_another_dtype():
    vocabulary = Vocabulary(objects("a", 1), 0, rare=np.array([5, 6]))
    assert_same(again(vocabulary), vocabulary)


class OwnString(str):
    pass


@pytest.mark.parametrize(
    ("ids", "what"),
    [
        (objects(OwnString("a"), "b"), "'a' of type OwnString"),
        (objects((1, OwnString("a")), 1), "of type OwnString"),
        (pd.array([1, 2], dtype="int64[pyarrow]"), r"array of dtype int64\[pyarrow\]"),
    ],
)
def test_ids_that_a_file_cannot_hold_are_refused_there_and_pickled(tmp_path, ids, what):
    encoder = IDEncoder().fit(pd.DataFrame({"user": [1], "item": [2]}))
    encoder.vocabularies_[0] = Vocabulary(ids, "user")
    message = f"(?s)Vocabulary of column 'user'.*{what}.*IDs are numbers.*joblib.dump"
    with pytest.raises(TypeError, match=message):
        sklrec.save(encoder, tmp_path / "model")
    found = pickle.loads(pickle.dumps(encoder)).vocabularies_[0].codes(ids)
    np.testing.assert_array_equal(found, np.arange(1, len(ids) + 1))


def test_zones_of_pytz_are_stored_by_name():
    zone = pytest.importorskip("pytz").timezone("America/Argentina/Ushuaia")
    ids = DAYS.tz_localize(zone).array
    found = again(Vocabulary(ids, "user"))
    assert found.ids[0].tzinfo == USHUAIA
    np.testing.assert_array_equal(found.codes(ids), np.arange(1, len(ids) + 1))


@pytest.mark.needs("pandas>=3.0")
def test_strings_are_read_without_pyarrow(monkeypatch):
    pytest.importorskip("pyarrow")
    ids = pd.array(["ann", "bob"], dtype=pd.StringDtype("pyarrow", na_value=np.nan))
    packed = KIND.pack(Vocabulary(ids, "user"), raw=False)["_ids"]
    real = pd.StringDtype

    def without(storage=None, na_value=pd.NA):
        if storage == "pyarrow":
            raise ImportError("pyarrow is required")
        return real(storage, na_value)

    monkeypatch.setattr(pd, "StringDtype", without)
    strings = IDs().unpack(packed, Place())
    monkeypatch.undo()
    assert strings.dtype == real("python", na_value=np.nan)
    assert strings.tolist() == ["ann", "bob"]


def json_of(text):
    return {"kind": "objects", "json_text": np.frombuffer(text.encode(), np.uint8)}


def strings(text, *lengths):
    return {"kind": "strings", "utf8": np.frombuffer(text, np.uint8), "n_bytes": np.array(lengths)}


def numbers(*ids, dtype="int64", time=None):
    return {"kind": "numbers", "ids": np.array(ids, dtype), "time": time}


def cells(ids):
    return {"kind": "strings of one width", "type": "U", "cells": np.asarray(ids, np.uint32)}


def zoned(zone):
    values = numbers(1, time="datetime64[s]")
    return {"kind": "times in a zone", "values": values, "zone": zone}


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (np.arange(3), "_ids should be a JSON object"),
        ({"kind": "pickle"}, "_ids.kind should be one of"),
        ({"kind": []}, "_ids.kind should be one of"),
        ({"kind": "numbers", "time": None}, "_ids.ids is missing"),
        (numbers([1]), r"should have the shape \(None\), got \(1, 1\)"),
        (numbers(1, 1), "must be unique"),
        (numbers(1, time="datetime64[s],O"), "time should be one of"),
        (numbers(1, dtype="int8", time="datetime64[s]"), "dtype"),
        ({"kind": "numbers of pandas", "values": numbers(1, dtype="float16")}, "Float16"),
        (strings(b"ab", 3), "and add up to 2"),
        (strings(b"ab", -1, 3), "should be from 0 to 2"),
        (strings(b"ab", 1), "and add up to 2"),
        (strings(b"\xff", 1), "can't decode"),
        (cells([[2**31]]), "integers from 0 to 1114111"),
        (cells(np.zeros((5, 0))), "smaller|itemsize|empty|zero"),
        (zoned("../../etc/passwd"), "'../../etc/passwd' is not kn"),
        (zoned(1e9), "offset must be a timedelta"),
        ({"kind": "categories", "values": 1, "ordered": True, "codes": 1}, "values should be a"),
        (json_of("5"), "has no len"),
        (json_of("[[]]"), "no valid type"),
        (json_of('[{"eval": "1"}]'), "the unknown kind 'eval'"),
        (json_of('[{"a": 1, "b": 2}]'), "in an unknown way"),
        (json_of("[" * 10**6), "recursion"),
        (json_of("[" + "9" * 9999 + "]"), "Exceeds the limit"),
    ],
)
def test_wrong_content_is_refused(ids, problem):
    packed = {"_ids": ids, "rare": numbers(), "name": "user"}
    with pytest.raises((ValueError, TypeError, RecursionError), match=problem):
        KIND.unpack(packed, Place())
