"""IDs of every kind come back equal and in the same dtype."""
# SPDX-License-Identifier: BSD-3-Clause

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from comparing import assert_same
from sklrec._persistence.ids import _READERS, read_vocabulary, write_vocabulary
from sklrec._persistence.parts import PartReader, PartWriter

import sklrec
from sklrec import IDEncoder
from sklrec._data.vocabulary import Vocabulary

DAYS = pd.date_range("2024-02-28", periods=3, unit="us")
PARIS = ZoneInfo("Europe/Paris")
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
    "str": pd.array(["ann", "日本"], dtype="str"),
    "string": pd.array(["ann", "日本"], dtype="string"),
    "python strings": pd.array(["ann", "\ud800"], dtype="string[python]"),
    "python str": pd.array(["ann"], dtype=pd.StringDtype("python", na_value=np.nan)),
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
    "seconds in a zone": DAYS.as_unit("s").tz_localize("America/Argentina/Ushuaia").array,
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


def again(vocabulary):
    writer = PartWriter()
    write_vocabulary(writer, vocabulary)
    reader = PartReader(writer.document, writer.arrays)
    found = read_vocabulary(reader, vocabulary.name)
    reader.finish()
    assert not writer.arrays
    return found


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
        (objects(np.datetime64("2024-01-01")), "of type datetime64"),
        (np.array([1, 2], dtype="longdouble"), "array of dtype (float|longdouble)"),
        (pd.array([1, 2], dtype="int64[pyarrow]"), r"array of dtype int64\[pyarrow\]"),
    ],
)
def test_ids_that_cannot_be_stored_are_refused(tmp_path, ids, what):
    encoder = IDEncoder().fit(pd.DataFrame({"user": [1], "item": [2]}))
    encoder.vocabularies_[0] = Vocabulary(ids, "user")
    message = f"(?s)IDs of column 'user' cannot be stored in a model file: .*{what}.*joblib.dump"
    with pytest.raises(TypeError, match=message):
        sklrec.save(encoder, tmp_path / "model")


def test_strings_are_read_without_pyarrow(monkeypatch):
    pytest.importorskip("pyarrow")
    writer = PartWriter()
    ids = pd.array(["ann", "bob"], dtype=pd.StringDtype("pyarrow", na_value=np.nan))
    write_vocabulary(writer, Vocabulary(ids, "user"))
    real = pd.StringDtype

    def without(storage=None, na_value=pd.NA):
        if storage == "pyarrow":
            raise ImportError("pyarrow is required")
        return real(storage, na_value)

    monkeypatch.setattr(pd, "StringDtype", without)
    ids = PartReader(writer.document, writer.arrays).part("ids")
    strings = _READERS[ids.choice("kind", *_READERS)](ids)
    monkeypatch.undo()
    assert strings.dtype == real("python", na_value=np.nan)
    assert strings.tolist() == ["ann", "bob"]


def read(document, **arrays):
    arrays = {f"ids.{name}": np.asarray(array) for name, array in arrays.items()}
    return read_vocabulary(PartReader({"ids": document}, arrays), "user")


def json_of(text):
    return np.frombuffer(text.encode(), np.uint8)


CELLS = {"kind": "strings of one width", "type": "U"}


def times(dtype, zone=None):
    return {"kind": "times", "dtype": dtype, "zone": zone}


@pytest.mark.parametrize(
    ("document", "arrays", "problem"),
    [
        ({"kind": "pickle"}, {}, "ids.kind should be one of"),
        ({"kind": []}, {}, "ids.kind should be one of"),
        ({"kind": "numbers"}, {}, "ids.ids is missing among the arrays"),
        ({"kind": "numbers"}, {"ids": [[1]]}, r"should have the shape \(any\), got \(1, 1\)"),
        ({"kind": "numbers"}, {"ids": [1, 1]}, "must be unique"),
        ({"kind": "numbers of pandas"}, {"ids": np.float16([1])}, "Float16"),
        ({"kind": "strings"}, {"utf8": json_of("ab"), "n_bytes": [3]}, "integers from 0 to 2"),
        ({"kind": "strings"}, {"utf8": json_of("ab"), "n_bytes": [-1, 2]}, "integers from 0 to 2"),
        ({"kind": "strings"}, {"utf8": json_of("ab"), "n_bytes": [1]}, "should add up to 2"),
        ({"kind": "strings"}, {"utf8": np.uint8([255]), "n_bytes": [1]}, "can't decode"),
        (CELLS, {"cells": np.uint32([[2**31]])}, "integers from 0 to 1114111"),
        (CELLS, {"cells": np.zeros((5, 0), np.uint32)}, "smaller|itemsize|empty|zero"),
        (times("datetime64[s],O"), {"ids": [1]}, "with a unit, got"),
        (times("datetime64[s]", "../../etc/passwd"), {"ids": [1]}, "'../../etc/passwd' is not kn"),
        (times("datetime64[s]", 1e9), {"ids": [1]}, "offset must be a timedelta"),
        ({"kind": "categories", "categories": {"kind": []}}, {}, "categories.kind should be one"),
        ({"kind": "objects"}, {"json": json_of("5")}, "has no len"),
        ({"kind": "objects"}, {"json": json_of("[[]]")}, "no valid type"),
        ({"kind": "objects"}, {"json": json_of('[{"eval": "1"}]')}, "the unknown kind 'eval'"),
        ({"kind": "objects"}, {"json": json_of('[{"a": 1, "b": 2}]')}, "in an unknown way"),
        ({"kind": "objects"}, {"json": json_of("[" * 10**6)}, "recursion"),
        ({"kind": "objects"}, {"json": json_of("[" + "9" * 9999 + "]")}, "Exceeds the limit"),
    ],
)
def test_wrong_content_is_refused(document, arrays, problem):
    with pytest.raises((ValueError, TypeError, RecursionError), match=problem):
        read(document, **arrays)
