"""Saving fitted estimators to model files, and loading them."""
# SPDX-License-Identifier: BSD-3-Clause

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from sklrec._persistence.estimators import KINDS, read_estimator, write_estimator
from sklrec._persistence.parts import PartReader, PartWriter
from sklrec._persistence.pipelines import is_pipeline, read_pipeline, write_pipeline
from sklrec._utils.tensor_file import read_tensor_file, refuse, write_tensor_file
from sklrec._utils.version import __version__

KIND = "model"


def save(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator to a model file.

    The file holds what `fit` learned (IDs, tables and curves), the parameters and the versions of
    the libraries: arrays and a JSON document in the safetensors format, no code and no pickle.
    It holds neither ``net_``, which is only of use to those who want the skorch net itself, nor
    callbacks; whatever else `predict`, `recommend`, `fold_in`, `partial_fit` and a fit with
    ``warm_start=True`` need is there.

    Parameters
    ----------
    estimator : estimator instance
        A fitted `MFRegressor`, `DenseRecRegressor`, `SequenceRatingRegressor`,
        `BayesianMFRegressor`, `IDEncoder`, `SequencePadder` or `SequenceWindower`, or a
        `sklearn.pipeline.Pipeline` of these.
    path : str or PathLike
        The file; one that is there already is replaced once the new one is complete, and stays
        if anything goes wrong.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is of another class, if a parameter or an ID is of a type that cannot be
        stored, or if the path is no path.
    ValueError
        If parameters were set to what is not valid, or a table holds numbers that are not
        finite.
    OSError
        If the file cannot be written.

    Warns
    -----
    UserWarning
        If there are callbacks, or attributes that were set by hand: they are not stored.

    See Also
    --------
    load : Load what this saved.

    Notes
    -----
    A net that is trained further starts its optimiser's moments and its history anew. A
    `~numpy.random.RandomState` that was given as `random_state` is stored with its state.

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
    document, arrays = _take_apart(estimator)
    with _explained(f"This {type(estimator).__name__} cannot be saved: "):
        _put_together(document, arrays)  # what cannot be read must not be written
    write_tensor_file(path, KIND, document, arrays)


def load(path: str | os.PathLike[str]) -> Any:
    """Load a fitted estimator from a model file.

    Nothing of the file is run, and no class is looked up by a name in it: the file may come from
    a stranger. All that it holds is checked before it is used.

    Parameters
    ----------
    path : str or PathLike
        A file that `save` wrote.

    Returns
    -------
    estimator instance
        The fitted estimator, on the device that it was on, or on the CPU where that is not
        there.

    Raises
    ------
    TypeError
        If the path is no path.
    OSError
        If the file cannot be read.
    ValueError
        If it is no model file, is truncated, altered or of a newer format, or if its parts do
        not fit each other.

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
    document, arrays = read_tensor_file(path, KIND)
    try:
        return _put_together(document, arrays)
    except _OF_CONTENT as error:
        refuse(os.fsdecode(path), KIND, str(error))


# What reading content raises that does not fit. Running out of memory is no matter of content.
_OF_CONTENT = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)


@contextmanager
def _explained(before: str) -> Iterator[None]:
    try:
        yield
    except _OF_CONTENT as error:
        raise ValueError(f"{before}{str(error).removesuffix('.')}.") from error


def _take_apart(estimator: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The document and the arrays that a file holds of an estimator."""
    root = PartWriter()
    versions = root.part("versions")
    for name, version in _versions().items():
        versions.put(name, version)
    model = root.part("model")
    if type(estimator) is Pipeline:
        write_pipeline(model, estimator)
    elif type(estimator) in KINDS:
        write_estimator(model, estimator)
    else:
        is_class = isinstance(estimator, type)
        what = f"the class {estimator.__name__}" if is_class else type(estimator).__name__
        raise TypeError(
            f"A model file holds a fitted {', '.join(kind.__name__ for kind in KINDS)} or a "
            f"scikit-learn Pipeline of these, got {what}. Of a search save its best_estimator_; "
            "use joblib.dump for other objects."
        )
    return root.document, root.arrays


def _put_together(document: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The estimator that a file holds."""
    arrays = dict(arrays)
    root = PartReader(document, arrays)
    versions = root.part("versions")
    for name in _versions():
        versions.value(name, str)
    model = root.part("model")
    read = read_pipeline if is_pipeline(model) else read_estimator
    estimator = read(model)
    root.finish()
    if arrays:
        raise ValueError(f"the array {next(iter(arrays))[:100]!r} is not known")
    return estimator


def _versions() -> dict[str, str]:
    """Versions of the libraries, for those who look into a file."""
    return {
        "sklrec": __version__,
        "torch": str(torch.__version__),
        "sklearn": sklearn.__version__,
        "numpy": np.__version__,
    }
