"""Users and items of test rows: as given, and as the model that recommends sees them."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin
from sklearn.pipeline import Pipeline

from sklrec._data.tables import (
    POSITIONS,
    check_interactions,
    column_values,
    resolve_sides,
)
from sklrec._data.vocabulary import Vocabulary
from sklrec.preprocessing import IDEncoder


class RowIDs(NamedTuple):
    """The users, or the items, of test rows."""

    codes: np.ndarray  # (n_rows,), from 1; equal where the given IDs are equal
    seen: Any  # (n_rows,), the IDs that the model sees
    is_lost: np.ndarray  # (n_rows,), where an IDEncoder before the model did not know the ID


def read_rows(estimator: Any, X: Any) -> tuple[Any, RowIDs, RowIDs]:
    """Return the model at the end of an estimator, and the users and items of test rows."""
    model, steps = unwrap(estimator)
    views = [X]  # before each step, and before the model
    for step in steps:
        views.append(step.transform(views[-1]))
    # A model that does not know its columns takes them from X.
    knows_columns = hasattr(model, "n_features_in_")
    of_columns = model if knows_columns else BaseEstimator()
    last = check_interactions(of_columns, views[-1], reset=not knows_columns)
    sides = {side: getattr(model, side, "auto") for side in POSITIONS}
    positions = resolve_sides(of_columns, last, **sides)
    seen = [column_values(last, position) for position in positions]
    is_lost = [np.zeros(last.shape[0], dtype=bool) for _ in positions]
    # Go back over the steps that keep columns in place: a step may have made different IDs equal.
    while steps and isinstance(steps[-1], OneToOneFeatureMixin):
        step, encoded = steps.pop(), _as_table(views.pop())
        for side, position in enumerate(positions):
            if isinstance(step, IDEncoder) and position in step.column_indices_:
                is_lost[side] |= np.asarray(column_values(encoded, position) == 0)
    first = _as_table(views[-1])
    codes = [Vocabulary.build(column_values(first, place), place)[1] for place in positions]
    users, items = map(RowIDs, codes, seen, is_lost)
    return model, users, items


def unwrap(estimator: Any) -> tuple[Any, list[Any]]:
    """Return the model at the end of pipelines and searches, and the fitted steps before it."""
    steps: list[Any] = []
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            *before, (_, estimator) = estimator.steps
            steps += [step for _, step in before if step not in (None, "passthrough")]
        else:
            return estimator, steps


def _as_table(X: Any) -> Any:
    return check_interactions(BaseEstimator(), X, reset=True)
