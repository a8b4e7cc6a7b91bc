"""Test rows as they are given, and as the model that recommends sees them."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin
from sklearn.pipeline import Pipeline

from sklrec._data.checks import check_interactions, column_values, resolve_columns
from sklrec._data.vocabulary import Vocabulary
from sklrec.preprocessing import IDEncoder


@dataclass(frozen=True)
class AskedIDs:
    """The users, or the items, of test rows.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Numbers from 0, the same where the given IDs are the same.
    seen : ndarray or ExtensionArray of shape (n_rows,)
        The IDs that the model sees.
    lost : ndarray of shape (n_rows,)
        Where an `IDEncoder` before the model did not know the ID, so that the model sees the
        same code for all such.
    """

    codes: np.ndarray
    seen: Any
    lost: np.ndarray


def read_rows(estimator: Any, X: Any) -> tuple[Any, AskedIDs, AskedIDs]:
    """Find the model that recommends, and what it sees of test rows.

    Parameters
    ----------
    estimator : estimator instance
        A fitted model, a `Pipeline` that ends in one, or a search for the best of them.
    X : {DataFrame, array-like} of shape (n_rows, n_features)
        The test rows.

    Returns
    -------
    model : estimator instance
        The model.
    users : AskedIDs
        The rows' users.
    items : AskedIDs
        The rows' items.
    """
    model, steps, views = _unwrap(estimator, X)
    # What a model does not know of the columns of X is taken from X itself.
    knows_columns = hasattr(model, "n_features_in_")
    of_columns = model if knows_columns else BaseEstimator()
    last = check_interactions(of_columns, views[-1], reset=not knows_columns)
    columns = (getattr(model, "user", 0), getattr(model, "item", 1))
    positions = resolve_columns(of_columns, columns, last)
    seen = [column_values(last, position) for position in positions]
    lost = [np.zeros(last.shape[0], dtype=bool) for _ in positions]
    # Back over the steps that keep columns in place, to IDs that no step has made equal.
    while steps and isinstance(steps[-1], OneToOneFeatureMixin):
        step, encoded = steps.pop(), _as_table(views.pop())
        for side, position in enumerate(positions):
            if isinstance(step, IDEncoder) and position in step.column_indices_:
                lost[side] |= np.asarray(column_values(encoded, position) == 0)
    first = _as_table(views[-1])
    codes = [Vocabulary.build(column_values(first, place), place)[1] - 1 for place in positions]
    users, items = map(AskedIDs, codes, seen, lost)
    return model, users, items


def _unwrap(estimator: Any, X: Any) -> tuple[Any, list[Any], list[Any]]:
    """The model, the fitted steps before it, and X before each of them and before the model."""
    steps: list[Any] = []
    views = [X]
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            for _, step in estimator.steps[:-1]:
                if step is not None and step != "passthrough":
                    steps.append(step)
                    views.append(step.transform(views[-1]))
            estimator = estimator.steps[-1][1]
        else:
            return estimator, steps, views


def _as_table(X: Any) -> Any:
    return check_interactions(BaseEstimator(), X, reset=True)
