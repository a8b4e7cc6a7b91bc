"""Saving fitted estimators to model files, and loading them."""
# SPDX-License-Identifier: BSD-3-Clause

import os
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from sklrec._solvers.steps import ATTRIBUTES_OF_A_RUNNING_FIT
from sklrec._utils.runtime import own_settings
from sklrec._utils.state.estimators import pack_estimator, unpack_estimator
from sklrec._utils.state.kinds import Place
from sklrec._utils.state.plain import named_objects
from sklrec._utils.tensor_file import read_tensor_file, refuse, write_tensor_file
from sklrec._utils.version import __version__
from sklrec._utils.warnings import warn
from sklrec._utils.whole_files import check_file_path


@own_settings()
def save(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator to a model file.

    The file holds the fitted attributes (IDs, tables and curves), the parameters and the versions
    of the libraries. `predict`, `recommend`, `partial_fit` and a fit with ``warm_start=True`` need
    nothing else. The format is safetensors: arrays and a JSON document, without code and without
    pickle. The file does not hold ``net_`` and callbacks.

    Parameters
    ----------
    estimator : estimator instance
        A fitted `MFRegressor`, `DenseRecRegressor`, `SequenceRatingRegressor`,
        `ModuleRecRegressor`, `BayesianMFRegressor`, `BiasRegressor`, `ImplicitMFRecommender`,
        `EASERecommender`, `PopularityRecommender`, `IDEncoder`, `SequencePadder` or
        `SequenceWindower`, or a `sklearn.pipeline.Pipeline` of these.
    path : str or PathLike
        Path of the file. An existing file is replaced when the new one is complete, and stays
        if saving fails. The new file has the mode and, if the system allows it, the owner of the
        one that it replaces. A link is followed.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is of another class, if a parameter or an ID is of a type that cannot be
        stored, or if `path` is neither a str nor a PathLike.
    ValueError
        If a parameter has an invalid value, or if `path` is a device, a pipe or a socket.
    OSError
        If the file cannot be written.

    Warns
    -----
    UserWarning
        If the estimator has callbacks or attributes that a user has set. They are not stored.

    See Also
    --------
    load : Load a fitted estimator.

    Notes
    -----
    The state of the optimizer is not stored, so further training starts with a new one. If
    `random_state` is a `~numpy.random.RandomState`, its current state is stored. Parameters that
    are arrays are stored as lists.

    Examples
    --------
    >>> import sklrec
    >>> from sklrec.datasets import make_ratings
    >>> from tempfile import TemporaryDirectory
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> mf = sklrec.MFRegressor(n_factors=8, random_state=0).fit(X, y)
    >>> with TemporaryDirectory() as folder:
    ...     sklrec.save(mf, f"{folder}/ratings.sklrec")
    ...     again = sklrec.load(f"{folder}/ratings.sklrec")
    >>> bool((again.predict(X) == mf.predict(X)).all())
    True
    """
    check_file_path(path)
    try:
        with named_objects({}):
            document, arrays = _to_parts(estimator)
            loaded = _from_parts(document, arrays)  # a file must be readable before it is written
    except NotFittedError:
        raise
    except ValueError as error:
        raise ValueError(_reason(estimator, error)) from error
    except TypeError as error:
        raise TypeError(f"{_reason(estimator, error)} {_HOLDS}") from error
    write_tensor_file(path, document, arrays)
    for before, after in zip(_steps(estimator), _steps(loaded), strict=True):
        known = vars(after).keys() | {"net_"} | ATTRIBUTES_OF_A_RUNNING_FIT
        lost = vars(before).keys() - known
        if getattr(before, "callbacks", None):
            lost.add("callbacks")
        if lost:
            what = f"{type(before).__name__} has attributes that a model file does not hold"
            warn(f"{what}: {', '.join(sorted(lost))}. The loaded estimator will lack them.")


@own_settings()
def load(path: str | os.PathLike[str], *, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Load a fitted estimator from a model file.

    It is safe to load a file from an unknown source. Loading runs no code from the file and
    imports no names from it. It checks sizes, dtypes, shapes and codes, but not whether the
    learned numbers are plausible.

    Parameters
    ----------
    path : str or PathLike
        Path of a file that `save` wrote.
    custom_objects : dict of str to object, default=None
        Classes, functions and objects that are parameters of the estimator, by their names:
        ``{"MyNetwork": MyNetwork}``. A file holds the names, but no code. Needed for `module` of
        `ModuleRecRegressor`, and for a `loss` or an `optimizer` of your own.

    Returns
    -------
    estimator instance
        The fitted estimator, on its device, or on the CPU if this machine does not have that
        device.

    Raises
    ------
    TypeError
        If `path` is neither a str nor a PathLike.
    OSError
        If the file cannot be read.
    ValueError
        If the file is not a model file, is truncated or altered, has another version of the
        format, or has parts that do not fit together.

    See Also
    --------
    save : Save a fitted estimator.

    Examples
    --------
    >>> import sklrec
    >>> from sklrec.datasets import make_ratings
    >>> from tempfile import TemporaryDirectory
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> mf = sklrec.MFRegressor(n_factors=8, random_state=0).fit(X, y)
    >>> with TemporaryDirectory() as folder:
    ...     sklrec.save(mf, f"{folder}/ratings.sklrec")
    ...     again = sklrec.load(f"{folder}/ratings.sklrec")
    >>> again.recommend([7], n_items=3).equals(mf.recommend([7], n_items=3))
    True
    """
    document, arrays = read_tensor_file(path)
    try:
        with named_objects(dict(custom_objects or {})):
            return _from_parts(document, arrays)
    except MemoryError:
        raise
    except Exception as error:  # content of a wrong type, size or value can cause any
        refuse(os.fsdecode(path), str(error).partition("\n")[0])


_HOLDS = (
    "A model file holds fitted estimators and transformers of sklrec, their subclasses, and "
    "scikit-learn Pipelines of these. Parameters are plain values. IDs are numbers, strings, "
    "bytes, datetimes, time differences, categories, and tuples and mixtures of these. Save the "
    "best_estimator_ of a search, convert IDs, for example with .astype(str), or use joblib.dump."
)
# Stored for information only.
_VERSIONS = {m.__name__: str(m.__version__) for m in (np, sklearn, torch)}
_VERSIONS["sklrec"] = __version__


def _reason(estimator: Any, error: Exception) -> str:
    return f"This {type(estimator).__name__} cannot be saved: {str(error).removesuffix('.')}."


def _steps(estimator: Any) -> list[Any]:
    steps = estimator.steps if isinstance(estimator, Pipeline) else [("", estimator)]
    return [step for _, step in steps if isinstance(step, BaseEstimator)]


def _to_parts(estimator: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Convert an estimator to a document and arrays."""
    arrays: dict[str, np.ndarray] = {}
    document = {"versions": _VERSIONS, "model": pack_estimator(estimator)}
    return _without_arrays(document, "", arrays), arrays


def _without_arrays(state: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """Copy a state, and move its arrays, which are values of dicts, into `arrays`."""
    if isinstance(state, list):
        return [_without_arrays(v, f"{path}{k}/", arrays) for k, v in enumerate(state)]
    if not isinstance(state, dict):
        return state
    arrays |= {f"{path}{k}": v for k, v in state.items() if isinstance(v, np.ndarray)}
    rest = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
    return {k: _without_arrays(v, f"{path}{k}/", arrays) for k, v in rest.items()}


def _from_parts(document: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Make an estimator from a document and arrays."""
    state = deepcopy(document)
    for name, array in arrays.items():
        *path, last = name.split("/")
        place = state
        for step in path:
            place = place[int(step) if isinstance(place, list) else step]
        if type(place) is not dict or last in place:
            raise ValueError(f"the array {name[:100]!r} is not known")
        place[last] = array
    if type(state) is not dict or state.keys() != {"versions", "model"}:
        raise ValueError("its document should hold versions and a model")
    return unpack_estimator(state["model"], Place("model"))
