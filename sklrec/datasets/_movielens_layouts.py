"""Readers of the MovieLens archives, which return tables of one form."""
# SPDX-License-Identifier: BSD-3-Clause

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

RATING_DTYPES = {"user": "int64", "item": "int64", "rating": "float64", "timestamp": "int64"}
USER_COLUMNS = ["user", "age", "gender", "occupation", "zip_code"]
ITEM_COLUMNS = ["item", "title", "genres"]

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
    users = _read_users(open_member(archive, "ml-100k/u.user"), sep="|", header=None)
    # Between title and flags: release date, video release date and web address.
    items = _make_items(
        (item, title, "|".join(compress(GENRES_100K, map(int, flags))))
        for item, title, _, _, _, *flags in _rows(archive, "ml-100k/u.item", "|", "latin-1")
    )
    return Tables(ratings, users, items)


def read_100k_wheel(archive: ZipFile, *, ratings_sha256: str) -> Tables:
    """Read MovieLens 100K from the wheel of RecBole."""
    # ml-100k.inter is a header line and then u.data, byte for byte. ml-100k.item has the year in
    # a column of its own, and the genres in one column.
    folder = "recbole/dataset_example/ml-100k/"
    _, _, u_data = _read_member(archive, folder + "ml-100k.inter").partition(b"\n")
    ratings = _read_u_data(u_data, ratings_sha256)
    users = _read_users(open_member(archive, folder + "ml-100k.user"), sep="\t", header=0)
    _, *rows = _rows(archive, folder + "ml-100k.item", "\t", "utf-8")
    items = _make_items(
        # One film has neither title nor year; the wheel misspells "unknown".
        (item, "unknown" if year == "unkonwn" else f"{title} ({year})", genres.replace(" ", "|"))
        for item, title, year, genres in rows
    )
    return Tables(ratings, users, items)


def read_dat(archive: ZipFile, *, folder: str, encoding: str) -> Tables:
    """Read the files of MovieLens 1M and 10M, with the separator `::`."""
    # With one character as the separator pandas uses its fast parser. Fields between two colons
    # are empty.
    layout = {"sep": ":", "header": None}
    file = open_member(archive, f"{folder}/ratings.dat")
    ratings = _read_ratings(file, usecols=[0, 2, 4, 6], **layout)
    items = _make_items(_rows(archive, f"{folder}/movies.dat", "::", encoding))
    users = None
    if f"{folder}/users.dat" in archive.namelist():
        names = ["user", "gender", "age", "occupation", "zip_code"]
        file = open_member(archive, f"{folder}/users.dat")
        users = _read_users(file, names, usecols=[0, 2, 4, 6, 8], **layout)
        users["occupation"] = [OCCUPATIONS_1M[code] for code in users["occupation"]]
        users = users[USER_COLUMNS]
    return Tables(ratings, users, items)


def read_csv(archive: ZipFile, *, folder: str) -> Tables:
    """Read the CSV files of MovieLens 20M and later, which do not describe the users."""
    ratings = _read_ratings(open_member(archive, f"{folder}/ratings.csv"), header=0)
    file = open_member(archive, f"{folder}/movies.csv")
    items = _read_columns(file, ITEM_COLUMNS, header=0, dtype="str", keep_default_na=False)
    return Tables(ratings, None, _make_items(items))


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


def _rows(archive: ZipFile, name: str, separator: str, encoding: str) -> Iterator[list[str]]:
    with io.TextIOWrapper(open_member(archive, name), encoding=encoding) as lines:
        for line in lines:
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
    ratings = _read_columns(file, list(RATING_DTYPES), dtype=RATING_DTYPES, **layout)
    return ratings.astype(RATING_DTYPES)  # raises if a column is missing: pandas fills it with NaN


def _read_users(
    file: IO[bytes], names: list[str] = USER_COLUMNS, **layout: object
) -> pd.DataFrame:
    dtypes = {"user": "int64", "age": "int64", "zip_code": "str"}
    return _read_columns(file, names, dtype=dtypes, keep_default_na=False, **layout)


def _read_columns(file: IO[bytes], names: list[str], **layout: object) -> pd.DataFrame:
    # Without usecols, pandas would make an index of further columns, which takes long.
    with file:
        return pd.read_csv(file, names=names, **{"usecols": range(len(names)), **layout})


def _make_items(rows: Iterable[Sequence[str]] | pd.DataFrame) -> pd.DataFrame:
    """Make the table of items from rows (item, title with year, genres joined by a bar)."""
    items = pd.DataFrame(rows, columns=ITEM_COLUMNS, dtype="str")
    items["item"] = items["item"].astype("int64")
    items["title"] = items["title"].str.replace(r"\s+", " ", regex=True).str.strip()
    items["genres"] = items["genres"].replace({"unknown": "", "(no genres listed)": ""})
    # The last year in parentheses: titles may contain other years, and series "(1989-1998)".
    year = items["title"].str.extract(r"^.*\((\d{4})(?:[^\d)]\d*)?\s*\)", expand=False)
    items.insert(2, "year", year.astype("Int64"))
    return items
