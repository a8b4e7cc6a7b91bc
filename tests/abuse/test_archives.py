"""Damaged MovieLens archives are read or refused, and nothing else is written."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import random
import tracemalloc
import warnings
import zipfile

import pandas as pd
import pytest
from small_archives import (
    CENTRAL,
    LOCAL,
    MEMBERS,
    OUTSIDE,
    READERS,
    damaged,
    make_zip,
    symlink,
    with_number,
)

from sklrec.datasets._movielens import _read
from sklrec.datasets._movielens_sets import Archive

BYTES = 2**24
RATINGS = {"user": "int64", "item": "int64", "rating": "float64", "timestamp": "int64"}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read bytes as an archive, and check that no file appears or changes."""
    folder = tmp_path / "home" / "movielens"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)

    def read(content, layout):
        path = folder / "archive.zip"
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(path, Archive("", path.name, "", READERS[layout]))
        finally:
            files = [
                os.path.join(root, name) for root, _, names in os.walk(tmp_path) for name in names
            ]
            assert files == [str(path)]
            assert path.read_bytes() == content

    return read


def assert_tables(tables):
    assert tables.ratings.dtypes.astype(str).to_dict() == RATINGS
    assert isinstance(tables.ratings.index, pd.RangeIndex)
    assert list(tables.items) == ["item", "title", "year", "genres"]
    assert tables.items["item"].dtype == "int64"


@pytest.mark.parametrize("layout", READERS)
def test_damaged_archives(abuse, read, layout):
    rng = random.Random(0)
    counts = {"archives that were read": 0, "archives that were refused": 0}
    for _ in range(abuse.n_sequences * 2 if abuse.is_long else 60):
        content = damaged(MEMBERS[layout], rng)
        try:
            tables = read(content, layout)
        except OSError as error:
            assert str(error)
            counts["archives that were refused"] += 1
        else:
            assert_tables(tables)
            counts["archives that were read"] += 1
    assert all(counts.values())
    abuse.counts.update(counts)


def test_intact_archives(read):
    for layout in READERS:
        assert_tables(read(make_zip(MEMBERS[layout]), layout))


def with_member(layout, which, content, method=zipfile.ZIP_STORED):
    """An archive with other content in the member of that number."""
    members = dict(MEMBERS[layout])
    members[list(members)[which]] = content
    return make_zip(members, method)


@pytest.mark.parametrize("layout", READERS)
@pytest.mark.parametrize("declared_size", [None, 1000])
def test_zip_bombs_are_refused_in_little_memory(read, layout, declared_size):
    bomb = with_member(layout, 0, bytes(2**25), zipfile.ZIP_DEFLATED)
    if declared_size is not None:
        for signature, place in ((LOCAL, (22, 4)), (CENTRAL, (24, 4))):
            bomb = with_number(bomb, signature, place, declared_size)
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match=r"would expand to 33,554,432 bytes|cannot be read"):
            read(bomb, layout)
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("layout", "which", "content", "message"),
    [
        ("25m", 0, b"a,b,c,d\n" + b"1," * 200_000 + b"x\nx,2\n", "cannot be read"),
        ("1m", 0, b"12::5::978300760\n", "cannot be read"),
        ("1m", 2, b"1::" + b"\xff" * 9, "cannot be read"),
        ("25m", 1, b"i,t,g\n1,\xff\xfe,Drama\n", "UnicodeDecodeError"),
        ("25m", 1, b'i,t,g\n1,"' + b"a" * 200_000, "field larger than field limit"),
        ("1m", 1, b"1::F::1::99::48067\n", "IndexError"),
        ("1m", 0, b"1::2::5\0::978300760\n", "cannot be read"),
        ("100k", 2, b"1|Toy|\n", "cannot be read"),
    ],
)
def test_members_with_other_content_are_refused(read, layout, which, content, message):
    with pytest.raises(OSError, match=message):
        read(with_member(layout, which, content), layout)


def test_encrypted_members_and_links_are_refused(read):
    members = MEMBERS["1m"]
    with pytest.raises(OSError, match="is encrypted, password required"):
        read(with_number(make_zip(members), CENTRAL, (8, 2), 1), "1m")
    # A link is read as the few bytes that it holds; it is not followed.
    with pytest.raises(OSError, match="cannot be read"):
        read(make_zip([(symlink(name), b"/etc/passwd") for name in members]), "1m")


@pytest.mark.parametrize("name", OUTSIDE)
def test_members_with_other_names_are_not_extracted(read, name):
    assert_tables(read(make_zip([(name, b"outside"), *MEMBERS["1m"].items()]), "1m"))


def test_titles_with_many_parentheses_are_read(read):  # a slow regular expression would hang
    content = b"1::" + b"(1" * 100_000 + b"::Drama\n"
    assert read(with_member("1m", 2, content), "1m").items["year"].isna().all()
