"""Checks of what displays are given: estimators, ratings and predictions."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import check_array, check_is_fitted


def fitted_model(estimator: Any) -> Any:
    """Find the fitted model in an estimator.

    Parameters
    ----------
    estimator : estimator instance
        A model, a `Pipeline` that ends in one, or a search for the best of them.

    Returns
    -------
    estimator instance
        The model.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    ValueError
        If it is a search that kept no model.
    """
    check_is_fitted(estimator)
    while True:
        if getattr(estimator, "refit", None) is False:
            raise ValueError(
                f"This {type(estimator).__name__} has refit=False and so no model. Set refit=True "
                "and fit it, or give a model fitted with its best_params_."
            )
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        else:
            check_is_fitted(estimator)
            return estimator


def fitted_regressor(estimator: Any) -> Any:
    """Find the fitted model that predicts in an estimator.

    Parameters
    ----------
    estimator : estimator instance
        A model, a `Pipeline` that ends in one, or a search for the best of them.

    Returns
    -------
    estimator instance
        The model.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    TypeError
        If it does not predict.
    ValueError
        If it is a search that kept no model.
    """
    model = fitted_model(estimator)
    if not hasattr(model, "predict"):
        raise TypeError(
            f"{type(model).__name__} has no method predict. Give a fitted regressor, or a "
            "Pipeline or a search that ends in one."
        )
    return model


def check_numbers(**columns: Any) -> tuple[np.ndarray, ...]:
    """Check columns of numbers that belong together row by row.

    Parameters
    ----------
    **columns : dict of str to array-like of shape (n_samples,)
        The columns by the names that the user knows them under.

    Returns
    -------
    tuple of ndarray of shape (n_samples,)
        The columns as float64.

    Raises
    ------
    ValueError
        If one is missing, empty or not of finite numbers, or if they differ in length.
    """
    checked = []
    for name, values in columns.items():
        if values is None:
            raise ValueError(f"{name} is None: give as many numbers as there are rows.")
        flat = column_or_1d(values, input_name=name)
        checked.append(check_array(flat, ensure_2d=False, dtype=np.float64, input_name=name))
    if len({len(values) for values in checked}) > 1:
        lengths = ", ".join(f"{name} {len(v)}" for name, v in zip(columns, checked, strict=True))
        raise ValueError(f"All must have as many rows, but they have: {lengths}.")
    return tuple(checked)


def check_rated(X: Any, y: Any) -> np.ndarray:
    """Check that each row has a rating.

    Parameters
    ----------
    X : {DataFrame, array-like} of shape (n_samples, n_features)
        The rows.
    y : array-like of shape (n_samples,)
        Their ratings.

    Returns
    -------
    ndarray of shape (n_samples,)
        The ratings as float64.

    Raises
    ------
    ValueError
        If they are not finite numbers, one for each row.
    """
    (y,) = check_numbers(y=y)
    check_consistent_length(X, y)
    return y


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Check that a parameter is one of some words.

    Parameters
    ----------
    name : str
        The parameter.
    value : str
        What was given.
    choices : tuple of str
        What may be.

    Returns
    -------
    str
        The same.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")
    return value


def name_of(estimator: Any, name: str | None) -> str:
    """Give what a legend calls an estimator.

    Parameters
    ----------
    estimator : estimator instance
        The fitted model.
    name : str or None
        What the user calls it.

    Returns
    -------
    str
        That, or the name of its class.
    """
    return type(estimator).__name__ if name is None else name
