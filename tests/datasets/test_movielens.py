"""The MovieLens loader: layouts, cache and errors with small archives, and the real data."""
# SPDX-License-Identifier: BSD-3-Clause

import errno
import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Barrier

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal
from sklearn.model_selection import KFold
from sklearn.utils import Bunch

from sklrec.datasets import fetch_movielens
from sklrec.datasets._download import DownloadError, pip_download
from sklrec.datasets._movielens_layouts import read_100k, read_100k_wheel
from sklrec.datasets._movielens_sets import SETS, U_DATA_SHA256

U_DATA = b"2\t1\t3\t881250949\n1\t267\t5\t881250950\n1\t1412\t1\t881250951\n"
FLAGS = {  # of the films 1, 267, 543 and 1412 of MovieLens 100K
    "children": "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0",
    "unknown": "1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0",
    "musical": "0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0",
    "cartoon": "0|0|0|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0",
}
# Small archives in the form of GroupLens and of the wheel. MovieLens 100K has the same four films,
# two users and three ratings in both; the others have two films and two ratings.
MEMBERS = {
    "100k": {
        "ml-100k/u.data": U_DATA,
        "ml-100k/u.user": b"1|24|M|technician|85711\n2|53|F|other|T8H1N\n",
        "ml-100k/u.item": (
            f"1|Toy Story (1995)|01-Jan-1995||http://a|{FLAGS['children']}\n"
            f"267|unknown||||{FLAGS['unknown']}\n"
            f"543|Misérables, Les (1995)|01-Jan-1995||http://b|{FLAGS['musical']}\n"
            f"1412|Land  Before Time III (1995) (V)|01-Jan-1995||http://c|{FLAGS['cartoon']}\n"
        ).encode("latin-1"),
    },
    "wheel": {
        "recbole/dataset_example/ml-100k/ml-100k.inter": (
            b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + U_DATA
        ),
        "recbole/dataset_example/ml-100k/ml-100k.user": (
            b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
            b"1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\tT8H1N\n"
        ),
        "recbole/dataset_example/ml-100k/ml-100k.item": (
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
            "1\tToy Story\t1995\tAnimation Children's Comedy\n"
            "267\tunkonwn\tunkonwn\tunknown\n"
            "543\tMisérables, Les\t1995\tDrama Musical\n"
            "1412\tLand Before Time III (1995)\tV\tAnimation Children's\n"
        ).encode(),
    },
    "1m": {
        "ml-1m/ratings.dat": b"1::2::5::978300760\n2::1::3::978302109\n",
        "ml-1m/users.dat": b"1::F::1::10::48067\n2::M::56::16::07006-1234\n",
        "ml-1m/movies.dat": (
            "1::Star Wars: Episode IV (1977)::Action|Sci-Fi\n2::Misérables, Les (1995)::Drama\n"
        ).encode("latin-1"),
    },
    "10m": {
        "ml-10M100K/ratings.dat": b"1::2::5::978300760\n2::1::0.5::978302109\n",
        "ml-10M100K/movies.dat": (
            "1::Star Wars: Episode IV (1977)::Action|Sci-Fi\n2::Misérables, Les (1995)::Drama\n"
        ).encode(),
    },
    "25m": {
        "ml-25m/ratings.csv": (
            b"userId,movieId,rating,timestamp\r\n1,2,5.0,978300760\r\n2,1,0.5,978302109\r\n"
        ),
        "ml-25m/movies.csv": (
            'movieId,title,genres\r\n1,"One, ""Two"" (1990) (1999\u20132001)",Drama|War\r\n'
            "2,Misérables no year,(no genres listed)\r\n"
        ).encode(),
    },
}
for name in ("20m", "32m"):
    MEMBERS[name] = {
        member.replace("25m", name): content for member, content in MEMBERS["25m"].items()
    }


def make_zip(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def use(monkeypatch):
    """Replace archives in the table by small ones."""

    def use(name, url, content, wheel=None):
        archive = replace(SETS[name].archive, origin=url, sha256=sha256(content).hexdigest())
        mirror = None
        if name == "100k":
            same = sha256(U_DATA).hexdigest()
            archive = replace(archive, read=partial(read_100k, ratings_sha256=same))
            mirror = replace(
                SETS[name].mirror,
                sha256=sha256(wheel.read_bytes() if wheel else b"").hexdigest(),
                read=partial(read_100k_wheel, ratings_sha256=same),
            )
        monkeypatch.setitem(SETS, name, replace(SETS[name], archive=archive, mirror=mirror))

    return use


@pytest.fixture
def serve(server, answer, use):
    """Serve the small archive of a data set, and add it to the table."""

    def serve(name, *answers, wheel=None):
        content = make_zip(MEMBERS[name])
        url = server.serve(f"ml-{name}.zip", *(answers or [answer(content)]))
        use(name, url, content, wheel)
        return content

    return serve


@pytest.fixture
def cached(use, cache):
    """Put an archive of MovieLens 1M into the cache, whose server cannot be reached."""

    def cached(content):
        use("1m", "http://127.0.0.1:9/ml-1m.zip", content)
        (cache / "movielens").mkdir()
        (cache / "movielens" / "ml-1m.zip").write_bytes(content)
        return partial(fetch_movielens, "1m", data_home=cache)

    return cached


@pytest.fixture
def wheel(make_wheel):
    return make_wheel("recbole", "1.2.1", MEMBERS["wheel"])


@pytest.mark.parametrize("name", SETS)
def test_every_data_set(serve, server, tmp_path, name):
    serve(name)
    first = fetch_movielens(name, data_home=tmp_path)
    assert isinstance(first, Bunch)
    assert first.feature_names == list(first.data.columns) == ["user", "item", "timestamp"]
    assert first.target_names == [first.target.name] == ["rating"]
    assert list(first.frame.columns) == ["user", "item", "timestamp", "rating"]
    assert list(first.frame.dtypes.astype(str)) == ["int64", "int64", "int64", "float64"]
    assert_frame_equal(first.frame[first.feature_names], first.data)
    assert_series_equal(first.frame["rating"], first.target)
    assert first.DESCR.startswith(f"MovieLens {name.upper()}\n====")
    assert "10.1145/2827872" in first.DESCR
    assert list(first.item_frame.columns) == ["item", "title", "year", "genres"]
    text = str(pd.Series(["a"]).dtype)  # "str" since pandas 3
    assert list(first.item_frame.dtypes.astype(str)) == ["int64", text, "Int64", text]
    assert (first.user_frame is not None) == (name in ("100k", "1m"))

    assert os.listdir(tmp_path / "movielens") == [f"ml-{name}.zip"]
    again = fetch_movielens(name, data_home=str(tmp_path), download_if_missing=False)
    assert server.n_requests == 1
    assert_frame_equal(first.frame, again.frame)
    assert_frame_equal(first.item_frame, again.item_frame)


def test_100k_in_the_form_of_grouplens(serve, tmp_path):
    serve("100k")
    bunch = fetch_movielens(data_home=tmp_path)
    assert bunch.frame.to_numpy().tolist() == [
        [2, 1, 881250949, 3],
        [1, 267, 881250950, 5],
        [1, 1412, 881250951, 1],
    ]
    assert bunch.user_frame.to_numpy().tolist() == [
        [1, 24, "M", "technician", "85711"],
        [2, 53, "F", "other", "T8H1N"],
    ]
    assert bunch.item_frame.to_numpy().tolist() == [
        [1, "Toy Story (1995)", 1995, "Animation|Children's|Comedy"],
        [267, "unknown", pd.NA, ""],
        [543, "Misérables, Les (1995)", 1995, "Drama|Musical"],
        [1412, "Land Before Time III (1995) (V)", 1995, "Animation|Children's"],
    ]


FILMS = [
    [1, "Star Wars: Episode IV (1977)", 1977, "Action|Sci-Fi"],
    [2, "Misérables, Les (1995)", 1995, "Drama"],
]
CSV_FILMS = [
    [1, 'One, "Two" (1990) (1999\u20132001)', 1999, "Drama|War"],
    [2, "Misérables no year", pd.NA, ""],
]


@pytest.mark.parametrize(
    ("name", "lowest", "films"), [("1m", 3, FILMS), ("10m", 0.5, FILMS), ("25m", 0.5, CSV_FILMS)]
)
def test_larger_sets(serve, tmp_path, name, lowest, films):
    serve(name)
    bunch = fetch_movielens(name, data_home=tmp_path)
    assert bunch.frame.to_numpy().tolist() == [[1, 2, 978300760, 5], [2, 1, 978302109, lowest]]
    assert bunch.item_frame.to_numpy().tolist() == films
    if name == "1m":
        assert bunch.user_frame.to_numpy().tolist() == [
            [1, 1, "F", "K-12 student", "48067"],
            [2, 56, "M", "self-employed", "07006-1234"],
        ]


@pytest.mark.parametrize("as_frame", [True, False])
def test_frames_and_arrays(serve, tmp_path, as_frame):
    serve("100k")
    bunch = fetch_movielens(data_home=tmp_path, as_frame=as_frame)
    X, y = fetch_movielens(data_home=tmp_path, as_frame=as_frame, return_X_y=True)
    assert (type(X), type(y)) == ((pd.DataFrame, pd.Series) if as_frame else (np.ndarray,) * 2)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)
    assert (bunch.frame is not None) == as_frame
    assert (np.asarray(X).dtype, y.dtype) == (np.int64, np.float64)


def test_the_mirror_has_the_same_data(serve, server, answer, wheel, tmp_path):
    content = serve("100k", wheel=wheel)
    original = fetch_movielens(data_home=tmp_path / "original")
    serve("100k", answer(status=404), wheel=wheel)
    home = tmp_path / "mirror"
    with pytest.warns(
        UserWarning,
        match=r"comes from the wheel recbole==1\.2\.1 .*answered 404.*mirror=False turns this off",
    ):
        mirrored = fetch_movielens(data_home=home)
    for frame in ("frame", "user_frame", "item_frame"):
        assert_frame_equal(original[frame], mirrored[frame])
    assert os.listdir(home / "movielens") == [wheel.name]

    # The second call reads the cache.
    n_requests = server.n_requests
    assert_frame_equal(fetch_movielens(data_home=home).frame, original.frame)
    assert server.n_requests == n_requests
    with pytest.raises(OSError, match=r"pip download recbole==1\.2\.1: not tried, because mirror"):
        fetch_movielens(data_home=home, mirror=False)
    server.serve("ml-100k.zip", answer(content))
    fetch_movielens(data_home=home, mirror=False)
    assert sorted(os.listdir(home / "movielens")) == ["ml-100k.zip", wheel.name]


def test_all_failed_sources_are_named(serve, answer, make_wheel, tmp_path):
    serve("100k", answer(status=403))
    with pytest.raises(OSError, match="MovieLens 100K could not be downloaded") as caught:
        fetch_movielens(data_home=tmp_path)
    tried = str(caught.value).splitlines()
    assert tried[1].startswith("- http://127.0.0.1:")
    assert tried[1].endswith("/ml-100k.zip: The server answered 403 (Forbidden).")
    assert tried[2].startswith("- pip download recbole==1.2.1: pip failed: ERROR: No matching")
    path = tmp_path / "movielens" / "ml-100k.zip"
    assert tried[3].startswith("To add it by hand, download http://127.0.0.1:")
    assert tried[3].endswith(f"copy it to {path}.")
    serve("1m", answer(b"something else"))
    with pytest.raises(OSError, match="MovieLens 1M could not be downloaded") as caught:
        fetch_movielens("1m", data_home=tmp_path)
    assert "pip" not in str(caught.value)  # only 100k has a mirror
    assert os.listdir(tmp_path / "movielens") == []


def test_archives_can_be_added_by_hand_without_a_download(cache, cached):
    fetch = cached(make_zip(MEMBERS["1m"]))
    assert len(fetch(download_if_missing=False).frame) == 2
    (cache / "movielens" / "ml-1m.zip").unlink()
    with pytest.raises(
        OSError,
        match=r"MovieLens 1M is not in .*movielens, and download_if_missing is False\. To add it",
    ):
        fetch(download_if_missing=False)
    assert os.listdir(cache / "movielens") == []


def test_a_damaged_archive_is_replaced(serve, answer, tmp_path):
    content = make_zip(MEMBERS["1m"])
    serve("1m", answer(content), answer(status=500), answer(content))
    fetch_movielens("1m", data_home=tmp_path)
    path = tmp_path / "movielens" / "ml-1m.zip"
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with pytest.raises(OSError, match=r"ml-1m\.zip is damaged: its sha256 is not .* Delete it"):
        fetch_movielens("1m", data_home=tmp_path, download_if_missing=False)
    with (
        pytest.warns(UserWarning, match=r"ml-1m\.zip is damaged: .*Downloading it again\."),
        pytest.warns(UserWarning, match=r"answered 500 .* Trying again in 0\.01 s"),
    ):
        bunch = fetch_movielens("1m", data_home=tmp_path, n_retries=1, delay=0.01)
    assert len(bunch.frame) == 2
    assert path.read_bytes() == content


def test_two_downloads_at_once(serve, answer, tmp_path):
    serve("1m", answer(make_zip(MEMBERS["1m"]), barrier=Barrier(2)))
    with ThreadPoolExecutor(2) as pool:
        fetch = partial(fetch_movielens, "1m", data_home=tmp_path)
        results = [pool.submit(fetch) for _ in range(2)]
    assert_frame_equal(results[0].result().frame, results[1].result().frame)
    assert os.listdir(tmp_path / "movielens") == ["ml-1m.zip"]


@pytest.mark.parametrize("below", ["", "folder"], ids=["is a file", "below a file"])
def test_a_data_home_that_is_no_folder_is_refused(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(
        OSError,
        match=r"The data home cannot be used \(.*\)\. Give data_home, .* a folder that can",
    ) as caught:
        fetch_movielens(data_home=file / below)
    assert str(file) in str(caught.value)
    assert file.read_text() == "not a folder"


@pytest.mark.parametrize(
    ("target", "name", "number", "kind"),
    [
        (Path, "mkdir", errno.EACCES, PermissionError),
        (Path, "mkdir", errno.EROFS, OSError),
        (os, "fsync", errno.ENOSPC, OSError),
    ],
)
def test_a_data_home_without_permission_or_room(
    serve, tmp_path, monkeypatch, target, name, number, kind
):
    serve("1m")

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    (tmp_path / "movielens").mkdir()
    monkeypatch.setattr(target, name, fail)
    message = rf"cannot be used \({os.strerror(number)}\)\. Give data_home.*movielens"
    with pytest.raises(kind, match=message) as caught:
        fetch_movielens("1m", data_home=tmp_path)
    assert caught.value.errno == number
    assert os.listdir(tmp_path / "movielens") == []


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"name": "2m"}, ValueError, r"name must be one of '100k', '1m', .*'32m', got '2m'\."),
        ({"name": ["100k"]}, ValueError, r"name must be one of .*, got \['100k'\]"),
        ({"n_retries": -1}, ValueError, "n_retries == -1, must be >= 0"),
        ({"n_retries": 1.5}, TypeError, "n_retries must be an instance of"),
        ({"delay": -0.5}, ValueError, r"delay == -0\.5, must be >= 0"),
        ({"delay": "1"}, TypeError, "delay must be an instance of"),
        *(
            ({name: "no"}, ValueError, f"{name} must be True or False, got 'no'")
            for name in ("download_if_missing", "return_X_y", "as_frame", "mirror")
        ),
    ],
)
def test_wrong_parameters_are_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        fetch_movielens(**parameters)


def test_other_ratings_in_the_archive_are_refused():
    archive = zipfile.ZipFile(io.BytesIO(make_zip(MEMBERS["wheel"])))
    with pytest.raises(
        OSError, match=f"not those of MovieLens 100K: .* u.data has {U_DATA_SHA256}"
    ):
        read_100k_wheel(archive, ratings_sha256=U_DATA_SHA256)


def altered(name, content):
    return make_zip({**MEMBERS["1m"], f"ml-1m/{name}.dat": content})


DAMAGED = {
    "no archive": (b"no archive", r"BadZipFile: File is not a zip file\)\. Delete it and"),
    "a missing member": (
        make_zip({n: rows for n, rows in MEMBERS["1m"].items() if "movies" not in n}),
        r"There is no item named 'ml-1m/movies\.dat' in the arch",
    ),
    "a bomb": (altered("movies", b"1::a::b\n" * 10_000), "would expand to 80,000 bytes, but a M"),
    "a missing column": (altered("ratings", b"12::5::978300760\n"), "cannot be read"),
    "a null byte": (altered("ratings", b"1::2::5\0::978300760\n"), "cannot be read"),
    "an unknown job": (altered("users", b"1::F::1::99::48067\n"), "IndexError"),
}


# pandas 2 reads a number up to a null byte.
NEEDS = {"a null byte": pytest.mark.needs("pandas>=3.0")}


@pytest.mark.parametrize(
    ("content", "message"),
    [pytest.param(*case, id=name, marks=NEEDS.get(name, ())) for name, case in DAMAGED.items()],
)
def test_damaged_archives_with_the_right_checksum_are_refused(cached, content, message):
    with pytest.raises(OSError, match=message):
        cached(content)()


def test_titles_with_many_parentheses_are_read(cached):  # a slow regular expression would hang
    content = altered("movies", b"1::" + b"(1" * 1000 + b"::Drama\n")
    assert cached(content)().item_frame["year"].isna().all()


@pytest.mark.movielens
def test_movielens_100k(movielens):
    X, y = movielens
    assert X.shape == (100_000, 3)
    assert (X["user"].nunique(), X["item"].nunique()) == (943, 1682)
    assert not X.duplicated(["user", "item"]).any()
    assert X.iloc[0].tolist() == [196, 242, 881250949]
    assert (y.name, y[0], y.mean()) == ("rating", 3, 3.52986)
    # The published u1.test has only users up to 462.
    _, first_fold = next(KFold(5).split(X))
    assert X["user"].iloc[first_fold].max() == 462


@pytest.mark.movielens
def test_movielens_100k_side_features():
    bunch = fetch_movielens("100k", download_if_missing=False)
    assert bunch.user_frame["user"].tolist() == list(range(1, 944))
    assert bunch.user_frame.iloc[0].tolist() == [1, 24, "M", "technician", "85711"]
    items = bunch.item_frame
    assert items["item"].tolist() == list(range(1, 1683))
    assert items.loc[items["year"].isna(), "title"].tolist() == ["unknown"]
    assert items.set_index("item").loc[[543, 1373, 1412]].to_numpy().tolist() == [
        ["Misérables, Les (1995)", 1995, "Drama|Musical"],
        ["Good Morning (1971)", 1971, ""],
        [
            "Land Before Time III: The Time of the Great Giving (1995) (V)",
            1995,
            "Animation|Children's",
        ],
    ]
    genres = items["genres"].str.get_dummies().drop(columns="", errors="ignore")  # with pyarrow
    assert (len(genres.columns), "unknown" in genres) == (18, False)
    assert genres["Drama"].sum() == 725


@pytest.mark.movielens
def test_a_new_download_gives_the_same_data(movielens, tmp_path, recwarn):
    X, y = fetch_movielens(data_home=tmp_path, return_X_y=True)
    assert_frame_equal(X, movielens[0])
    assert_series_equal(y, movielens[1])


@pytest.mark.movielens
def test_mirror_in_the_package_index(movielens, tmp_path):
    mirror = SETS["100k"].mirror
    try:
        pip_download(mirror.origin, tmp_path / mirror.filename, mirror.sha256)
    except DownloadError as error:
        pytest.skip(f"no package index can be reached: {error}")
    with zipfile.ZipFile(tmp_path / mirror.filename) as archive:
        ratings = mirror.read(archive).ratings
    assert_frame_equal(ratings[["user", "item", "timestamp"]], movielens[0])
