"""Table of the MovieLens data sets: addresses, checksums and readers."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from zipfile import ZipFile

from sklrec.datasets._movielens_layouts import (
    Tables,
    read_100k,
    read_100k_wheel,
    read_csv,
    read_dat,
)

U_DATA_SHA256 = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"


@dataclass(frozen=True)
class Archive:
    """A zip file that holds a data set."""

    origin: str  # a URL, or a requirement for pip
    filename: str
    sha256: str
    read: Callable[[ZipFile], Tables]


@dataclass(frozen=True)
class MovieLensSet:
    """A data set: the archive of GroupLens, a description, and a mirror if there is one."""

    archive: Archive
    summary: str
    mirror: Archive | None = None


def _grouplens(
    name: str,
    sha256: str,
    read: Callable[[ZipFile], Tables],
    summary: str,
    mirror: Archive | None = None,
) -> MovieLensSet:
    """Make the entry of a data set from GroupLens."""
    url = f"https://files.grouplens.org/datasets/movielens/ml-{name}.zip"
    summary += " Each user rated at least 20 films."
    return MovieLensSet(Archive(url, f"ml-{name}.zip", sha256, read), summary, mirror)


# GroupLens publishes the MD5 of each archive, which no longer protects against manipulation. These
# are the SHA-256 of the archives that have the published MD5.
SETS = {
    "100k": _grouplens(
        "100k",
        "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        partial(read_100k, ratings_sha256=U_DATA_SHA256),
        "100,000 ratings in whole stars from 1 to 5, given by 943 users to 1,682 films from "
        "September 1997 to April 1998.",
        mirror=Archive(
            "recbole==1.2.1",
            "recbole-1.2.1-py3-none-any.whl",
            "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
            partial(read_100k_wheel, ratings_sha256=U_DATA_SHA256),
        ),
    ),
    "1m": _grouplens(
        "1m",
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        partial(read_dat, folder="ml-1m", encoding="latin-1"),
        "1,000,209 ratings in whole stars from 1 to 5, given by 6,040 users to 3,706 of 3,883 "
        "films from 2000 to 2003.",
    ),
    "10m": _grouplens(
        "10m",
        "813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862",
        partial(read_dat, folder="ml-10M100K", encoding="utf-8"),
        "10,000,054 ratings in half stars from 0.5 to 5, given by 69,878 users to 10,677 of "
        "10,681 films from 1995 to 2009.",
    ),
    "20m": _grouplens(
        "20m",
        "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
        partial(read_csv, folder="ml-20m"),
        "20,000,263 ratings in half stars from 0.5 to 5, given by 138,493 users to films out of "
        "27,278 from January 1995 to March 2015.",
    ),
    "25m": _grouplens(
        "25m",
        "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
        partial(read_csv, folder="ml-25m"),
        "25,000,095 ratings in half stars from 0.5 to 5, given by 162,541 users to films out of "
        "62,423 from January 1995 to November 2019.",
    ),
    "32m": _grouplens(
        "32m",
        "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee",
        partial(read_csv, folder="ml-32m"),
        "32,000,204 ratings in half stars from 0.5 to 5, given by 200,948 users to films out of "
        "87,585 from January 1995 to October 2023.",
    ),
}
