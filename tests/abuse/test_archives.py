"""The reader of MovieLens' archives under whatever is in a file that passed for one."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import random
import time
import tracemalloc
import warnings
import zipfile

import pandas as pd
import pytest
from small_archives import LAYOUTS, make_zip, spoiled, symlink, with_number

from sklrec.datasets._movielens import _read
from sklrec.datasets._movielens_sets import Archive

SECONDS = 5
BYTES = 2**24
RATINGS = {"user": "int64", "item": "int64", "rating": "float64", "timestamp": "int64"}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read bytes as an archive of a layout; nothing else may appear anywhere near."""
    folder = tmp_path / "home" / "movielens"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)

    def read(content, layout):
        path = folder / "archive.zip"
        path.write_bytes(content)
        began = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(path, Archive("", path.name, "", LAYOUTS[layout][0]))
        finally:
            assert time.monotonic() - began < SECONDS
            assert [
                os.path.join(root, name) for root, _, names in os.walk(tmp_path) for name in names
            ] == [str(path)]
            assert path.read_bytes() == content

    return read


def assert_tables(tables):
    assert tables.ratings.dtypes.astype(str).to_dict() == RATINGS
    assert isinstance(tables.ratings.index, pd.RangeIndex)
    assert list(tables.items) == ["item", "title", "year", "genres"]
    assert tables.items["item"].dtype == "int64"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_spoiled_archives(abuse, read, layout):
    rng = random.Random(0)
    answers = {"archives that were read": 0, "archives that were refused": 0}
    for _ in range(abuse.n_lives * 2 if abuse.long else 60):
        content = spoiled(LAYOUTS[layout][1], rng)
        try:
            tables = read(content, layout)
        except OSError as error:
            assert str(error)
            answers["archives that were refused"] += 1
        else:
            assert_tables(tables)
            answers["archives that were read"] += 1
    assert all(answers.values())
    abuse.counts.update(answers)


def test_what_is_not_spoiled_is_read(read):
    for layout, (_, members) in LAYOUTS.items():
        assert_tables(read(make_zip(members.items()), layout))


def altered(layout, which, content, method=zipfile.ZIP_STORED):
    """An archive whose member number `which` holds something else."""
    members = dict(LAYOUTS[layout][1])
    members[list(members)[which]] = content
    return make_zip(members.items(), method)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("declared", [None, 1000])
def test_zip_bombs(read, layout, declared):
    """Whether an archive says how much it unfolds to or not, little of it is unfolded."""
    bomb = altered(layout, 0, bytes(2**25), zipfile.ZIP_DEFLATED)
    if declared is not None:
        rng = random.Random(0)
        for signature, place in ((b"PK\x03\x04", (22, 4)), (b"PK\x01\x02", (24, 4))):
            for _ in range(20):  # in all entries, one or another at a time
                bomb = with_number(bomb, rng, signature, place, declared)
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match=r"would unfold to 33,554,432 bytes|cannot be read"):
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
def test_members_of_other_content(read, layout, which, content, message):
    with pytest.raises(OSError, match=message):
        read(altered(layout, which, content), layout)


def test_members_that_are_encrypted_or_links(read):
    members = LAYOUTS["1m"][1]
    archive = make_zip(members.items())
    rng = random.Random(0)
    for _ in range(20):
        archive = with_number(archive, rng, b"PK\x01\x02", (8, 2), 1)
    with pytest.raises(OSError, match="is encrypted, password required"):
        read(archive, "1m")
    # A link is read as the few bytes that it is, not followed.
    links = [(symlink(name), b"/etc/passwd") for name in members]
    with pytest.raises(OSError, match="cannot be read"):
        read(make_zip(links), "1m")


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "..\\outside.txt"])
def test_members_of_other_names_are_left_where_they_are(read, name):
    members = [(name, b"outside"), *LAYOUTS["1m"][1].items()]
    assert_tables(read(make_zip(members), "1m"))


def test_a_long_title_takes_no_longer_than_it_is(read):
    content = b"1::" + b"(1" * 100_000 + b"::Drama\n"
    assert read(altered("1m", 2, content), "1m").items["year"].isna().all()
