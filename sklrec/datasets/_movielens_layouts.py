"""Readers of the MovieLens archives, which return tables of one form."""
# SPDX-License-Identifier: BSD-3-Clause

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import IO, NamedTuple
from zipfile import ZipFile

import pandas as pd

from sklrec._utils.checksum import sha256

# Limits that protect the memory from manipulated archives. The largest member, the ratings of
# MovieLens 32M, has 0.9e9 bytes, and no member has more than seven times the size of its archive.
MAX_MEMBER_BYTES = 2**31
MAX_EXPANSION = 20

RATING_COLUMNS = ["user", "item", "rating", "timestamp"]
RATING_DTYPES = {"user": "int64", "item": "int64", "rating": "float64", "timestamp": "int64"}
USER_COLUMNS = ["user", "age", "gender", "occupation", "zip_code"]

# Order of the flags in u.item. The first one says that the genre is not known.
GENRES_100K = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()

# Occupations with the numbers 0 to 20 in users.dat of MovieLens 1M, from its README.
OCCUPATIONS_1M = (
    "other|academic/educator|artist|clerical/admin|college/grad student|customer service|"
    "doctor/health care|executive/managerial|farmer|homemaker|K-12 student|lawyer|programmer|"
    "retired|sales/marketing|scientist|self-employed|technician/engineer|tradesman/craftsman|"
    "unemployed|writer"
).split("|")


class Tables(NamedTuple):
    """The tables of a data set."""

    ratings: pd.DataFrame  # user, item, rating, timestamp, in the order of the file
    users: pd.DataFrame | None  # None if the archive does not describe its users
    items: pd.DataFrame  # item, title, year, genres


def read_100k(archive: ZipFile, *, ratings_sha256: str) -> Tables:
    """Read GroupLens' archive of MovieLens 100K."""
    ratings = _read_u_data(_read_member(archive, "ml-100k/u.data"), ratings_sha256)
    with open_member(archive, "ml-100k/u.user") as file:
        users = _read_users(file, sep="|")
    with open_member(archive, "ml-100k/u.item") as file:
        # Between title and flags: release date, video release date and web address.
        items = _make_items(
            (item, title, "|".join(compress(GENRES_100K, map(int, flags))))
            for item, title, _, _, _, *flags in _rows(file, "|", "latin-1")
        )
    return Tables(ratings, users, items)


def read_100k_wheel(archive: ZipFile, *, ratings_sha256: str) -> Tables:
    """Read MovieLens 100K from the wheel of RecBole."""
    # ml-100k.inter is a header line and then u.data, byte for byte. ml-100k.item has the year in
    # a column of its own, and the genres in one column.
    folder = "recbole/dataset_example/ml-100k/"
    _, _, u_data = _read_member(archive, folder + "ml-100k.inter").partition(b"\n")
    ratings = _read_u_data(u_data, ratings_sha256)
    with open_member(archive, folder + "ml-100k.user") as file:
        users = _read_users(file, sep="\t", header=0)
    with open_member(archive, folder + "ml-100k.item") as file:
        file.readline()
        items = _make_items(
            # One film has neither title nor year; the wheel misspells "unknown".
            (
                item,
                "unknown" if year == "unkonwn" else f"{title} ({year})",
                genres.replace(" ", "|"),
            )
            for item, title, year, genres in _rows(file, "\t", "utf-8")
        )
    return Tables(ratings, users, items)


def read_dat(archive: ZipFile, *, folder: str, encoding: str) -> Tables:
    """Read the files of MovieLens 1M and 10M, with the separator `::`."""
    with open_member(archive, f"{folder}/ratings.dat") as file:
        # With one character as the separator pandas uses its fast parser. Fields between two
        # colons are empty.
        ratings = _read_ratings(file, sep=":", usecols=[0, 2, 4, 6], header=None)
    with open_member(archive, f"{folder}/movies.dat") as file:
        items = _make_items(_rows(file, "::", encoding))
    users = None
    if f"{folder}/users.dat" in archive.namelist():
        with open_member(archive, f"{folder}/users.dat") as file:
            rows = _rows(file, "::", encoding)
            users = pd.DataFrame(rows, columns=["user", "gender", "age", "occupation", "zip_code"])
        users = users.astype({"user": "int64", "age": "int64", "occupation": "int64"})
        users["occupation"] = [OCCUPATIONS_1M[code] for code in users["occupation"]]
        users = users[USER_COLUMNS]
    return Tables(ratings, users, items)


def read_csv(archive: ZipFile, *, folder: str) -> Tables:
    """Read the CSV files of MovieLens 20M and later, which do not describe the users."""
    with open_member(archive, f"{folder}/ratings.csv") as file:
        ratings = _read_ratings(file, header=0)
    with open_member(archive, f"{folder}/movies.csv") as file:
        file.readline()
        items = _make_items(csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline="")))
    return Tables(ratings, None, items)


def open_member(archive: ZipFile, name: str) -> IO[bytes]:
    """Open one member, or raise if it is larger than any member of these archives."""
    size = archive.getinfo(name).file_size
    # The directory follows after all members, so its position limits their compressed sizes.
    most = min(MAX_MEMBER_BYTES, MAX_EXPANSION * archive.start_dir)
    if size > most:
        raise OSError(
            f"{name} in {archive.filename} would expand to {size:,} bytes, but a MovieLens file "
            f"in an archive of this size has at most {most:,}. Delete the archive and download it "
            "again."
        )
    return archive.open(name)


def _read_member(archive: ZipFile, name: str) -> bytes:
    with open_member(archive, name) as file:
        # Without a number, zipfile expands all data before it checks the size.
        return file.read(archive.getinfo(name).file_size)


def _rows(file: IO[bytes], separator: str, encoding: str) -> Iterator[list[str]]:
    for line in io.TextIOWrapper(file, encoding=encoding):
        if line := line.rstrip("\r\n"):
            yield line.split(separator)


def _read_u_data(content: bytes, wanted: str) -> pd.DataFrame:
    """Read the ratings of MovieLens 100K, which are the same bytes in both sources."""
    found = sha256([content])
    if found != wanted:
        raise OSError(
            f"The ratings in this archive are not those of MovieLens 100K: their sha256 is "
            f"{found}, but u.data has {wanted}. Delete the archive and download it again."
        )
    return _read_ratings(io.BytesIO(content), sep="\t", header=None)


def _read_ratings(file: IO[bytes], **layout: object) -> pd.DataFrame:
    ratings = _read_columns(file, RATING_COLUMNS, dtype=RATING_DTYPES, **layout)
    return ratings.astype(RATING_DTYPES)  # raises if a column is missing: pandas fills it with NaN


def _read_users(file: IO[bytes], **layout: object) -> pd.DataFrame:
    return _read_columns(
        file,
        USER_COLUMNS,
        dtype={"user": "int64", "age": "int64", "zip_code": "str"},
        keep_default_na=False,
        **{"header": None, **layout},
    )


def _read_columns(file: IO[bytes], names: list[str], **layout: object) -> pd.DataFrame:
    # Without usecols, pandas would make an index of further columns, which takes long.
    return pd.read_csv(file, names=names, **{"usecols": range(len(names)), **layout})


def _make_items(rows: Iterable[Sequence[str]]) -> pd.DataFrame:
    """Make the table of items from rows (item, title with year, genres joined by a bar)."""
    items = pd.DataFrame(rows, columns=["item", "title", "genres"], dtype="str")
    items["item"] = items["item"].astype("int64")
    items["title"] = items["title"].str.replace(r"\s+", " ", regex=True).str.strip()
    items["genres"] = items["genres"].replace({"unknown": "", "(no genres listed)": ""})
    # The last year in parentheses: titles may contain other years, and series "(1989-1998)".
    year = items["title"].str.extract(r"^.*\((\d{4})(?:[^\d)]\d*)?\s*\)", expand=False)
    items.insert(2, "year", year.astype("Int64"))
    return items
