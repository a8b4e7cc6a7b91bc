"""Reader of padded sequences of item codes."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np

from sklrec._core.history_reader import check_input_unchanged, rate, sequence_tensors
from sklrec._core.readers import Inputs, Learned, Rated, new_rating_scale
from sklrec._core.rows import check_X
from sklrec._data.padded import (
    check_item_codes,
    check_sequence_ratings,
    check_sequences,
    has_ratings,
    rated_positions,
    split_columns,
    to_histories,
)
from sklrec._solvers.sequence_tensors import SequenceTensors


class PaddedReader:
    """Reads padded sequences of item codes, with or without past ratings."""

    def check_X(self, model: Any, X: Any, *, reset: bool) -> Any:
        """Check X; with `reset`, store its number and names of columns."""
        if not reset:
            check_input_unchanged(model)
        return check_sequences(model, X, reset=reset)

    def check_y(self, model: Any, y: Any, *, input_name: str) -> np.ndarray:
        """Check ratings, one for each sequence or for each position."""
        return check_sequence_ratings(model, y, input_name=input_name)

    def learn(self, model: Any, X: Any, y: Any, weight: Any, previous: Any) -> Learned:
        """Set the fitted attributes that do not need training, and return items and ratings."""
        if previous is None:
            model.with_ratings_ = has_ratings(X, y)
            model.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        before = getattr(previous, "rating_scale_", None)
        model.rating_scale_ = new_rating_scale(model, y[~np.isnan(y)], before)
        if not (model.with_ratings_ or model.items_only):
            raise ValueError(
                "items_only=False reads past ratings, but X holds only items. Append the ratings "
                "as further columns, as SequenceWindower(ratings=True) does, or set "
                "items_only=True. (If X has the ratings already: the last one is the one to "
                "predict, and must be NaN.)"
            )
        items, _ = split_columns(X, model.with_ratings_)
        check_item_codes(X, items)
        model.time_unit_ = 1.0
        n_items = max(int(items.max()), 1 if previous is None else previous.n_items_)
        return self.inputs(model, X), {"n_items": n_items}

    def inputs(self, model: Any, X: Any, rows: slice = slice(None)) -> Inputs:
        """Split some rows into items and past ratings."""
        items, ratings = split_columns(X[rows], model.with_ratings_)
        return {"items": items} if ratings is None else {"items": items, "ratings": ratings}

    def warn_of_kind(self, model: Any, X: Any, n_unknown: np.ndarray) -> None:
        """Do nothing: codes have no kind."""

    def training_data(self, model: Any, rated: Rated, previous: Any) -> SequenceTensors:
        """Make the tensors to train on."""
        data = self.validation_data(model, rated, None)
        before = None if previous is None else previous.module_
        model.module_.count_lookups(data.lookups(model.n_items_), len(data), before)
        return data

    def validation_data(self, model: Any, rated: Rated, training: Any) -> SequenceTensors:
        """Make the tensors for the validation loss."""
        inputs, y, weight = rated
        items, _ = _known(model, inputs)
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if n_outputs != model.n_outputs_:
            raise ValueError(
                f"The model predicts {model.n_outputs_} rating(s) for each sequence, but ratings "
                f"came with shape {y.shape}. Give y and y_val the same number of columns."
            )
        histories, places = to_histories(items, inputs.get("ratings"))
        row, column = rated_positions(items, y)
        return sequence_tensors(
            model,
            histories,
            row,
            items[row, column],
            places[row, column],
            y if y.ndim == 1 else y[row, column],
            weight[row],
        )

    def row_counts(self, model: Any) -> dict[str, np.ndarray]:
        """Return nothing: the module counts lookups itself."""
        return {}

    def predicted(self, model: Any, X: Any, history: Any) -> np.ndarray:
        """Predict the ratings of the last items, or of all positions."""
        data, where = self._targets(model, X, history)
        if model.n_outputs_ == 1:
            return rate(model, data)
        ratings = np.full((len(X), model.n_outputs_), np.nan)
        ratings[where] = rate(model, data)
        return ratings

    def targets(self, model: Any, X: Any, history: Any) -> SequenceTensors:
        """Make the histories and items to rate."""
        return self._targets(model, X, history)[0]

    def _targets(self, model: Any, X: Any, history: Any) -> tuple[SequenceTensors, Any]:
        """Make the targets, and their rows and columns."""
        if history is not None:
            raise ValueError(
                "history is for input='interactions', got a history with input='sequences'. "
                "Leave it out: X itself holds the earlier items and ratings."
            )
        inputs = self.inputs(model, check_X(model, X, reset=False))
        items, is_item = _known(model, inputs)
        histories, places = to_histories(items, inputs.get("ratings"))
        where = np.nonzero(is_item)
        if model.n_outputs_ == 1:
            where = np.arange(len(items)), np.full(len(items), items.shape[1] - 1)
        return sequence_tensors(model, histories, where[0], items[where], places[where]), where


def _known(model: Any, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Set unknown items to 0, and tell where there is an item, known or not."""
    items = inputs["items"]
    return np.where(items > model.n_items_, 0, items), items > 0
