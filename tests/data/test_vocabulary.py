"""The map from the IDs of a column to codes."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
import re
from datetime import date
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklrec._data.growing_vocabulary import GrowingVocabulary
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.versions import string_dtype

TEXTS = string_dtype("pyarrow", np.nan)  # "str" of pandas 3


EMAILS = st.emails()
INTEGERS = st.integers(-(2**70), 2**70)
TEXT = st.text(max_size=5)
MIXED = st.one_of(
    INTEGERS,
    st.integers(-3, 3),
    TEXT,
    st.integers(-3, 3).map(str),
    st.booleans(),
    st.binary(max_size=2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.tuples(st.integers(0, 2), st.text(max_size=1)),
)
ANY_IDS = st.one_of(*(st.lists(kind, max_size=30) for kind in (EMAILS, INTEGERS, TEXT, MIXED)))


def objects(values):
    """An object array, also where the values are tuples."""
    return np.fromiter(values, object, len(values))


def expected_codes(values, known):
    """Codes from a dict, which has the same notion of equality."""
    codes = {value: k + 1 for k, value in enumerate(dict.fromkeys(known))}
    return [codes.get(value, 0) for value in values]


COLUMNS = {
    "int64": np.array([5, 3, 5]),
    "int8": np.array([5, -3, 5], dtype=np.int8),
    "uint64": np.array([2**63 + 1, 3, 3], dtype=np.uint64),
    "bool": np.array([True, False, True]),
    "float64": np.array([1.5, 2.0, 1.5]),
    "whole floats": np.array([5.0, 3.0, 5.0], dtype=np.float32),
    "U": np.array(["b", "a", "b"]),
    "S": np.array([b"b", b"a"]),
    "datetime64[D]": np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]"),
    "timedelta64": np.array([1, 2, 1], dtype="m8[s]"),
    "integer objects": objects([5, 3, 5]),
    "float objects": objects([5.5, 3, 5.5]),
    "bool objects": objects([True, False]),
    "mixed": objects(["196", 196, "196", 196.0, b"196", 2**70, True]),
    "tuples": objects([(1, 2), (3,), (1, 2)]),
    "dates": objects([date(2020, 1, 1), date(2020, 1, 2)]),
    "list": ["a", 1],
    "list of tuples": [(1, 2), (3, 4)],
    "str": pd.Series(["b", "a", "b"]),
    "null characters": objects(["", "\0a\0", "a\0b", "a", "a\0b"]),
    "string with null characters": pd.array(["", "\0a\0", "a"], dtype="string"),
    "string": pd.array(["x", "", "x"], dtype="string"),
    "Int64": pd.array([3, 1, 3], dtype="Int64"),
    "Float64": pd.array([1.5, 2, 3], dtype="Float64"),
    "boolean": pd.array([True, False], dtype="boolean"),
    "category": pd.Categorical(["b", "a", "b"], categories=["unused", "a", "b"]),
    "integer category": pd.Categorical([3, 1, 3]),
    "datetimes": pd.Series(pd.to_datetime(["2020", "2021", "2020"])),
    "datetimes with time zone": pd.Series(
        pd.to_datetime(["2020", "2021"]).tz_localize("Europe/Paris")
    ),
    "sparse": pd.Series([1, 0, 2], dtype=pd.SparseDtype(int)),
    "empty": np.array([], dtype=np.int64),
}


def python_values(values):
    """Single values as pandas returns them, since these compare like IDs."""
    return values if isinstance(values, list) else list(pd.Series(values).astype(object))


@pytest.fixture(params=COLUMNS)
def column(request):
    return COLUMNS[request.param]


LEARN = (Vocabulary.build, Vocabulary.from_values)


def test_look_up_and_extend_agree_with_a_dict(column):
    vocabulary, codes = Vocabulary.build(column, "user")
    assert codes.dtype == np.int64
    assert codes.tolist() == expected_codes(python_values(column), python_values(column))
    assert Vocabulary.from_values(column, "user").ids.tolist() == vocabulary.ids.tolist()
    known = python_values(column)
    for name, others in COLUMNS.items():
        found = vocabulary.codes(others)
        assert found.dtype == np.int64, name
        assert found.tolist() == expected_codes(python_values(others), known), name
        both = known + python_values(others)
        longer = vocabulary.extend(others)
        assert longer.codes(column).tolist() == codes.tolist(), name
        assert longer.codes(others).tolist() == expected_codes(python_values(others), both), name
        assert len(longer) == len(set(both)), name


@settings(max_examples=40)
@given(ANY_IDS, ANY_IDS)
def test_objects_behave_as_in_a_dict(values, others):
    vocabulary, codes = Vocabulary.build(objects(values), "user")
    assert codes.tolist() == expected_codes(values, values)
    assert sorted(set(codes)) == list(range(1, len(vocabulary) + 1))
    assert vocabulary.codes(objects(others)).tolist() == expected_codes(others, values)
    assert vocabulary.ids_of(codes).tolist() == values
    longer = vocabulary.extend(objects(others))
    assert longer.codes(objects(values)).tolist() == codes.tolist()
    assert longer.codes(objects(others)).tolist() == expected_codes(others, values + others)
    assert longer.ids[: len(vocabulary)].tolist() == vocabulary.ids.tolist()


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20),
)
def test_equal_integers_and_floats_are_the_same_id(integers, floats):
    floats += [float(value) for value in integers]
    as_integers = np.array(integers, dtype=np.int64)
    as_floats = np.array(floats, dtype=np.float64)
    known_integers = Vocabulary.from_values(as_integers, "user")
    known_floats = Vocabulary.from_values(as_floats, "user")
    assert known_integers.codes(as_floats).tolist() == expected_codes(floats, integers)
    assert known_floats.codes(as_integers).tolist() == expected_codes(integers, floats)


@pytest.mark.parametrize("is_contiguous", [True, False])
def test_long_columns_of_shared_objects_are_encoded_by_equality(is_contiguous):
    pool = np.empty(7, dtype=object)
    pool[:] = ["ab", "".join(["a", "b"]), 1, 1.0, "1", (1, "a"), 2**70]
    rows = np.random.default_rng(0).integers(7, size=70_000)
    values = pool[rows] if is_contiguous else np.column_stack([pool[rows]] * 2)[:, 0]
    with pytest.warns(UserWarning, match="numbers such as 1"):
        vocabulary, codes = Vocabulary.build(values, "user")
    known: dict = {}
    expected = [known.setdefault(value, len(known) + 1) for value in values]
    assert codes.tolist() == expected
    assert vocabulary.ids.tolist() == list(known)
    values[-1] = "new"
    assert vocabulary.codes(values).tolist() == [*expected[:-1], 0]
    values[-1] = None
    with pytest.raises(ValueError, match="holds None in row 69999"):
        Vocabulary.build(values, "user")


def test_numbers_and_strings_are_different_ids():
    vocabulary = Vocabulary.from_values(np.array([196, 22]), "user")
    for number, code in ((196, 1), (196.0, 1), ("196", 0), (b"196", 0)):
        assert vocabulary.codes([number]).tolist() == [code]
        assert vocabulary.codes(objects([number, (22,)])).tolist() == [code, 0]


@pytest.mark.needs("pandas>=3.0")  # pandas 2 compares strings up to a zero byte only
def test_strings_with_zero_bytes_and_surrogates_are_distinct():
    values = objects(["a", "a\0", "a\0b", "", "\0", "\ud800", "\ud801"])
    vocabulary, codes = Vocabulary.build(values, "user")
    assert codes.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert vocabulary.codes(values).tolist() == codes.tolist()


@pytest.mark.parametrize("part", [slice(None), slice(0, 3), slice(4, 5)])
def test_categories_that_do_not_occur_are_not_known(part):
    column = pd.Categorical(["b", "a", "b", "c", "d"], categories=list("zyxwvdcba"))[part]
    vocabulary = Vocabulary.from_values(column, "user")
    assert len(vocabulary) == len(set(column))
    assert vocabulary.codes(list("zyxwv")).tolist() == [0] * 5
    assert vocabulary.codes(column).tolist() == expected_codes(column, column)
    known = Vocabulary.from_values(["d", "b", "a"], "user")
    assert known.codes(column).tolist() == expected_codes(column, ["d", "b", "a"])


@pytest.mark.parametrize(
    ("ids", "more", "dtype"),
    [
        (np.array([1], dtype=np.int32), np.array([2**40]), np.dtype(np.int64)),
        (np.array(["a"]), np.array(["long"]), np.dtype("U4")),
        (
            pd.array(["a"], dtype=TEXTS),
            pd.array(["b"], dtype=TEXTS),
            TEXTS,
        ),
        (pd.array([1], dtype="Int64"), pd.array([2], dtype="Int64"), pd.Int64Dtype()),
        (np.array([2**62 + 1]), np.array([0.5]), np.dtype(object)),
        (pd.Categorical(["a"]), pd.Categorical(["b"]), np.dtype(object)),
    ],
)
def test_extended_ids_are_unaltered(ids, more, dtype):
    longer = Vocabulary.from_values(ids, "user").extend(more)
    result = longer.ids_of([1, 2])
    assert result.dtype == dtype
    assert list(result) == [ids[0], more[0]]


INVALID = {
    "NaN": (np.array([1.0, np.nan, 2.0, np.nan]), "nan"),
    "None": (objects(["a", None, "b", None]), "None"),
    "NaN object": (objects(["a", np.nan, 1, np.nan]), "nan"),
    "NA object": (objects(["a", pd.NA, "b", pd.NA]), "<NA>"),
    "NaT object": (objects([1, pd.NaT, 2, pd.NaT]), "NaT"),
    "True and None": (objects([True, None, False, None]), "None"),
    "str": (pd.array(["a", None, "b", None], dtype=TEXTS), "(nan|<NA>)"),
    "string": (pd.array(["a", None, "b", None], dtype="string"), "<NA>"),
    "Int64": (pd.array([1, None, 2, None], dtype="Int64"), "<NA>"),
    "category": (pd.Categorical(["a", None, "b", None]), "nan"),
    "wide category": (pd.Categorical.from_codes([1, -1, 0, -1], categories=range(100)), "nan"),
    "datetimes": (pd.Series(pd.to_datetime(["2020", None, "2021", None], utc=True)), "NaT"),
    "datetime64": (np.array(["2020", "NaT", "2021", "NaT"], dtype="M8[D]"), ".*NaT.*"),
    "float infinity": (np.array([1.0, -np.inf, 2.5, np.inf]), "-inf"),
    "float32 infinity": (np.array([1.0, np.inf, 2.0, np.inf], dtype=np.float32), "inf"),
    "infinity and strings": (objects(["a", np.inf, "b", np.inf]), "inf"),
    "infinity and integers": (objects([1, -np.inf, 2, np.inf]), "-inf"),
    "Float64 infinity": (pd.array([1.0, np.inf, 2.0, np.inf], dtype="Float64"), "inf"),
    "infinite category": (pd.Categorical([1.0, np.inf, 2.0, np.inf]), "inf"),
}


@pytest.mark.parametrize("case", INVALID)
def test_missing_and_infinite_ids_are_refused(case):
    values, shown = INVALID[case]
    text = (
        rf"Input X contains {'infinity' if 'inf' in shown else 'NaN'}\.\n"
        f"Column 'user' holds {shown} in row 1. In all, 2 of the rows 0 to 3 lack an ID. "
        "Every interaction needs its IDs: drop these rows, or fill in an ID that stands for them"
    )
    vocabularies = [Vocabulary.from_values(ids, "user") for ids in (["a", "b"], [1, 2], [1.5])]
    methods = [method for v in vocabularies for method in (v.codes, v.extend)]
    for method in (*methods, *(lambda v, f=f: f(v, "user") for f in LEARN)):
        with pytest.raises(ValueError, match=text):
            method(values)


def test_structured_arrays_are_refused():
    with pytest.raises(TypeError, match=r"'user' must be one column of IDs, got a ndarray of dty"):
        Vocabulary.from_values(np.zeros(2, dtype=[("user", "i8")]), "user")


@pytest.mark.parametrize("value", [{"foo": "bar"}, [1], (1, [2])])
def test_ids_that_cannot_be_hashed_are_refused(value):
    known = [Vocabulary.from_values(ids, "user") for ids in (["a"], [1])]
    for method in (*(v.codes for v in known), *(lambda v, f=f: f(v, "user") for f in LEARN)):
        with pytest.raises(TypeError, match=r"'user' holds .*, which cannot be an ID \(unhash"):
            method(objects(["a", value]))


@pytest.mark.parametrize(
    "values",
    [
        *(
            objects([value, "a"])
            for value in (frozenset({1}), UUID(int=1), Decimal(1), 1j, object)
        ),
        *map(objects, ([np.datetime64(1, "D")], [np.longdouble(1)], [np.timedelta64(1, "D")])),
        *(objects([(1, Fraction(1, 2))]), pd.period_range("2020", periods=2, freq="D")),
        pd.Series(pd.interval_range(0, 3)),
    ],
)
def test_ids_of_other_types_are_refused(values):
    text = r"Column 'user' holds .* of type \w+, which is no valid type\. IDs and .*astype\(str\)"
    known = Vocabulary.from_values(["b"], "user")
    for learn in (*LEARN, lambda v, _: known.extend(v)):
        with pytest.raises(TypeError, match=text):
            learn(values, "user")


@pytest.mark.parametrize(
    ("ids", "values", "fitted", "got", "share", "conversion"),
    [
        ([196, 22], ["196", "7"], "integers 196", "strings '196'", "100.0%", ".astype(int)"),
        (["196"], [7], "strings '196'", "integers 7", "100.0%", ".astype(str)"),
        ([1.5], pd.Categorical(["x"]), "floats 1.5", "strings 'x'", "100.0%", ".astype(float)"),
        ([b"a"], ["a", "b"], "bytes b'a'", "strings 'a'", "100.0%", None),
        ([True], ["a"], "booleans True", "strings 'a'", "100.0%", None),
        (
            *(COLUMNS["timedelta64"], ["a"], "time differences np.timedelta64(1,'s')"),
            *("strings 'a'", "100.0%", "pandas.to_timedelta"),
        ),
        (
            *([196, 22], objects([196, "22", 196, 196]), "integers 196"),
            *("objects of other or of mixed types 196", "25.0%", ".astype(int)"),
        ),
    ],
)
def test_another_kind_of_ids_is_reported(ids, values, fitted, got, share, conversion):
    vocabulary = Vocabulary.from_values(ids, "user")
    n_unknown = np.count_nonzero(vocabulary.codes(values) == 0)
    fitted, got = (" (such as ".join(kind.rsplit(" ", 1)) + ")" for kind in (fitted, got))
    advice = f", for example with {conversion}" if conversion else ""
    text = (
        f"Column 'user' was fitted on {fitted} but got {got}: {share} of {len(values)} rows are "
        f"unknown. Convert it first{advice}."
    )
    with pytest.warns(UserWarning, match=re.escape(text)):
        vocabulary.warn_of_kind(values, n_unknown)


@pytest.mark.parametrize(
    ("ids", "values"),
    [
        ([1, 2], [3, 4]),  # new IDs of the same kind
        ([1, 2], [0.5, 3.0]),  # numbers are of one kind
        (["a", 1], [7, 8]),  # fit saw several kinds
        (["a", "b"], pd.Categorical(["c"])),
        (np.array([], dtype=np.int64), ["a"]),
    ],
)
def test_new_ids_of_the_same_kind_are_no_mismatch(ids, values, recwarn):
    vocabulary = Vocabulary.from_values(ids, "user")
    vocabulary.warn_of_kind(values, len(values))
    assert not recwarn.list


def test_a_pickle_holds_the_ids_once():
    ids = np.arange(10_000)
    vocabulary = Vocabulary.from_values(ids, "user")
    vocabulary.codes(objects(["a"]))
    assert len(pickle.dumps(vocabulary)) < 1.1 * ids.nbytes


CHUNKS = [
    (np.arange(0, 300, 3), np.arange(0, 900, 2), np.array([7, 8, 7])),
    (pd.array(["a", "b"]), np.array(["b", "c"], dtype=object), pd.Categorical(["d", "a"])),
    (np.array([1, 2]), np.array([2.0, 2.5]), np.array([3, 2], dtype=np.uint8)),
    (objects(["a", 1, (2, 3)]), np.array([1, 5]), np.array(["a", "z"])),
]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_chunks_give_the_same_codes_as_one_table(chunks):
    growing = GrowingVocabulary(Vocabulary.from_values(chunks[0], "user"))
    codes = [growing.encode(chunk) for chunk in chunks]
    whole = Vocabulary.from_values(objects([x for chunk in chunks for x in chunk]), "user")
    grown = growing.finish()
    assert list(grown.ids) == list(whole.ids)
    for chunk, found in zip(chunks, codes, strict=True):
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, whole.codes(chunk))
        np.testing.assert_array_equal(found, grown.codes(chunk))


def test_a_vocabulary_without_new_ids_stays_the_same():
    known = Vocabulary.from_values(np.arange(10), "user")
    growing = GrowingVocabulary(known)
    assert growing.encode(np.array([3, 3])).tolist() == [4, 4]
    assert growing.finish() is known is known.extend([2, 2, 1])


def test_growing_hashes_each_id_a_few_times_only(monkeypatch):
    n_hashed = 0
    init = Vocabulary.__init__

    def counting(self, ids, *args, **kwargs):
        nonlocal n_hashed
        n_hashed += len(ids)
        init(self, ids, *args, **kwargs)

    monkeypatch.setattr(Vocabulary, "__init__", counting)
    growing = GrowingVocabulary(Vocabulary.from_values(np.arange(100), "user"))
    for first in range(100, 30_000, 100):
        growing.encode(np.arange(first, first + 100))
    assert len(growing.finish()) == 30_000
    assert n_hashed < 15 * 30_000  # a new table for each chunk would hash each ID 150 times
