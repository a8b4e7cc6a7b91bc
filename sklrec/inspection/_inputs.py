"""Checks of the inputs of displays: estimators, ratings and predictions."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_array, check_is_fitted

from sklrec._data.numbers import numbers_of
from sklrec._data.tables import unmasked
from sklrec._utils.versions import column_or_1d
from sklrec.inspection._drawing import check_matplotlib
from sklrec.metrics._test_rows import unwrap


def fitted_model(display: type, estimator: Any, needs: str | None = None) -> Any:
    """Return the fitted model at the end of an estimator, and check what a display needs."""
    check_matplotlib(f"{display.__name__}.from_estimator")
    check_is_fitted(estimator)
    model, _ = unwrap(estimator)
    if getattr(model, "refit", None) is False:
        raise ValueError(
            f"This {type(model).__name__} has refit=False and so no model. Set refit=True and fit "
            "it, or give a model fitted with its best_params_."
        )
    check_is_fitted(model)
    if needs is not None and not hasattr(model, needs):
        raise TypeError(
            f"{type(model).__name__} has no {needs}, which this display needs. Give a fitted "
            "regressor of this package, or a Pipeline or a search that ends in one."
        )
    return model


def check_numbers(**columns: Any) -> tuple[np.ndarray, ...]:
    """Check columns of finite numbers with equal lengths, and return them as float64."""
    checked = []
    for name, values in columns.items():
        if values is None:
            raise ValueError(f"{name} is None. Give a number for each row.")
        flat = numbers_of(column_or_1d(unmasked(values), input_name=name), name)
        checked.append(check_array(flat, ensure_2d=False, dtype=np.float64, input_name=name))
    check_consistent_length(*checked)
    return tuple(checked)


def check_name(name: Any) -> None:
    """Check the name of a model in a legend."""
    if not isinstance(name, str | None):
        raise TypeError(f"name must be a string or None, got {name!r:.100}.")


def check_rated(X: Any, y: Any) -> np.ndarray:
    """Check that each row of X has a rating, and return the ratings as float64."""
    (y,) = check_numbers(y=y)
    check_consistent_length(X, y)
    return y
