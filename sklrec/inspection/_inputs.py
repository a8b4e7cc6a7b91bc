"""Checks of the inputs of displays: estimators, ratings and predictions."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import check_array, check_is_fitted


def fitted_model(estimator: Any, needs: str | None = None) -> Any:
    """Return the fitted model at the end of an estimator, and check that it has an attribute."""
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
            break
    check_is_fitted(estimator)
    if needs is not None and not hasattr(estimator, needs):
        raise TypeError(
            f"{type(estimator).__name__} has no {needs}, which this display needs. Give a fitted "
            "regressor of this package, or a Pipeline or a search that ends in one."
        )
    return estimator


def check_numbers(**columns: Any) -> tuple[np.ndarray, ...]:
    """Check columns of finite numbers with equal lengths, and return them as float64."""
    checked = []
    for name, values in columns.items():
        if values is None:
            raise ValueError(f"{name} is None. Give a number for each row.")
        flat = column_or_1d(values, input_name=name)
        checked.append(check_array(flat, ensure_2d=False, dtype=np.float64, input_name=name))
    if len({len(values) for values in checked}) > 1:
        lengths = ", ".join(f"{name} {len(v)}" for name, v in zip(columns, checked, strict=True))
        raise ValueError(f"All must have the same number of rows, but they have: {lengths}.")
    return tuple(checked)


def check_rated(X: Any, y: Any) -> np.ndarray:
    """Check that each row of X has a rating, and return the ratings as float64."""
    (y,) = check_numbers(y=y)
    check_consistent_length(X, y)
    return y


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Check that a parameter is one of some words."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def n_training_ratings(model: Any, side: int) -> np.ndarray:
    """Count the training ratings of each code of users (side 0) or of items (side 1)."""
    return np.bincount(model.seen_.nonzero()[side], minlength=model.seen_.shape[side])
