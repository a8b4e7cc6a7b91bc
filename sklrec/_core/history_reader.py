"""Reader of users, items and times, and of the histories of users."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import copy
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_consistent_length
from torch import Tensor

from sklrec._core.predict import clipped
from sklrec._core.readers import (
    Inputs,
    Learned,
    PairReader,
    Rated,
    count_unknown,
    find_id_columns,
    id_columns,
    learn_pairs,
    n_ids,
)
from sklrec._core.rows import check_X
from sklrec._data.checks import check_ratings
from sklrec._data.histories import Histories, last_rows
from sklrec._data.tables import (
    check_interactions,
    column_values,
    named_column,
    resolve_columns,
    take_rows,
)
from sklrec._data.timestamps import learn_timestamp, read_timestamps, resolve_timestamp
from sklrec._data.vocabulary import Vocabulary
from sklrec._solvers.sequence_tensors import PLACES_AT_ONCE, SequenceTensors
from sklrec._utils.runtime import threads_for

# Of a longer history, a target reads the nearest ratings on each side: at least this many, and at
# most twice as many.
MAX_LEN = 512
# Limit of memory: interactions that are copied at once.
INTERACTIONS_AT_ONCE = 2**22


class HistoryReader(PairReader):
    """Reads users, items and times, and the histories of the users."""

    def check_X(self, model: Any, X: Any, *, reset: bool) -> Any:
        if not reset:
            check_input_unchanged(model)
        return super().check_X(model, X, reset=reset)

    def learn(self, model: Any, X: Any, y: Any, weight: Any, previous: Any) -> Learned:
        timestamp_index = resolve_timestamp(model, model.timestamp, X)
        if timestamp_index is not None:  # raises if it is the column of users or of items
            resolve_columns(model, (*find_id_columns(model, X, previous), timestamp_index), X)
        if previous is None:
            reads = "predict reads the whole history of a user"
            model.timestamp_index_, model.timestamp_kind_ = learn_timestamp(model, X, reads)
        elif timestamp_index != model.timestamp_index_:
            raise ValueError(
                f"timestamp={model.timestamp!r} was asked for, but the training continues a model "
                f"of timestamps in column {model.timestamp_index_}. Set it back, or fit with "
                "warm_start=False."
            )
        inputs = learn_pairs(model, X, y, previous) | self._times(model, X)
        model.histories_ = _histories(model, inputs, y, previous)
        model.time_unit_ = model.histories_.median_gap() if model.histories_.timed else 1.0
        return inputs, {"n_items": n_ids(model)[1]}

    def inputs(self, model: Any, X: Any, rows: slice = slice(None)) -> Inputs:
        return super().inputs(model, X, rows) | self._times(model, X, rows)

    def _times(self, model: Any, X: Any, rows: slice = slice(None)) -> Inputs:
        """Read the times of some rows, if there are timestamps."""
        if (index := model.timestamp_index_) is None:
            return {}
        values, name = named_column(model, X, index)
        kind, first_row = model.timestamp_kind_, rows.start or 0
        return {"times": read_timestamps(values[rows], name, kind, first_row=first_row)}

    def training_data(self, model: Any, rated: Rated, previous: Any) -> SequenceTensors:
        inputs, y, weight = rated
        histories = _histories(model, inputs, y, previous)
        users, items, times = inputs["users"], inputs["items"], inputs.get("times")
        places = _places(model, inputs, previous)
        if times is None:
            times = places - histories.starts[users]
        targets = histories, users, items, times, y, weight
        if model.module_.has_static_part:
            data = sequence_tensors(model, *targets)
            past_weights = np.ones(len(histories.items))  # also of the rows of earlier fits
            past_weights[places] = weight
            data.places, data.past_weights = map(torch.from_numpy, (places, past_weights))
            return data
        module = model.module_
        options = {"history_dropout": module.history_dropout, "users": users}
        data = sequence_tensors(model, *targets, **options)
        if hasattr(module, "count_lookups"):
            module.count_lookups(data.lookups(module.n_items), len(histories.items))
        return data

    def validation_data(self, model: Any, rated: Rated, training: Any) -> SequenceTensors:
        inputs, y, weight = rated
        users, items, times = inputs["users"], inputs["items"], inputs.get("times")
        histories, sequences = training.histories, users
        if times is None:
            histories, sequences = histories.without_targets(users, items, MAX_LEN)
        targets = histories, sequences, items, times, y, weight
        return sequence_tensors(model, *targets, users=users)

    def predicted(self, model: Any, X: Any, history: Any) -> np.ndarray:
        """Predict ratings from the histories of `fit` or from others."""
        histories, sequences, inputs = self._read(model, X, history)
        users, items, times = inputs["users"], inputs["items"], inputs.get("times")
        if times is not None:
            data = sequence_tensors(model, histories, sequences, items, times, users=users)
            return rate(model, data)
        ratings = np.empty(len(users))
        # Each row reads a copy of the history without its item. Copies for all rows at once could
        # exceed the memory.
        order = np.lexsort((items, sequences))  # rows that share a copy are in one block
        lengths = histories.lengths[sequences[order]].clip(max=2 * MAX_LEN)
        block = np.cumsum(lengths) // INTERACTIONS_AT_ONCE
        for rows in np.split(order, np.flatnonzero(np.diff(block)) + 1):
            copies, of_rows = histories.without_targets(sequences[rows], items[rows], MAX_LEN)
            targets = copies, of_rows, items[rows], None
            ratings[rows] = rate(model, sequence_tensors(model, *targets, users=users[rows]))
        return ratings

    def targets(self, model: Any, X: Any, history: Any) -> SequenceTensors:
        """Make the histories and items to rate, as in `predicted`, but all at once."""
        histories, sequences, inputs = self._read(model, X, history)
        users, items, times = inputs["users"], inputs["items"], inputs.get("times")
        if times is None:
            histories, sequences = histories.without_targets(sequences, items, MAX_LEN)
        return sequence_tensors(model, histories, sequences, items, times, users=users)

    def _read(self, model: Any, X: Any, history: Any) -> tuple[Histories, np.ndarray, Inputs]:
        """Read histories, the sequence of each row of X, and its user, item and time."""
        X = check_X(model, X, reset=False)
        inputs = self.inputs(model, X)
        histories, sequences = model.histories_, inputs["users"]
        if history is None:
            self.warn_of_kind(model, X, count_unknown(inputs))
        else:
            _warn_of_items(model, X, inputs["items"])
            histories, sequences = self._read_history(model, X, history)
        return histories, sequences, inputs

    def _read_history(self, model: Any, X: Any, history: Any) -> tuple[Histories, np.ndarray]:
        """Make histories from (X_past, y_past), and find the sequence of each row of X in them."""
        X_past, y_past = _check_history(model, X, history)
        position = model.encoder_.column_indices_[0]
        vocabulary, users = Vocabulary.build(*named_column(model, X_past, position))
        values = column_values(X, position)
        sequences = vocabulary.codes(values)
        vocabulary.warn_of_kind(values, np.count_nonzero(sequences == 0))
        is_read = np.zeros(len(vocabulary) + 1, dtype=bool)
        is_read[sequences[sequences > 0]] = True
        rows = is_read[users] & ~np.isnan(y_past)  # the only ones that X reads
        users, y_past = users[rows], y_past[rows]
        X_past = take_rows(X_past, rows)
        inputs = self.inputs(model, X_past)
        _warn_of_items(model, X_past, inputs["items"])
        times = inputs.get("times")
        histories = Histories.of_last(users, inputs["items"], y_past, times, len(is_read))
        return histories, sequences

    def scores(self, model: Any, users: np.ndarray, items: np.ndarray, **options: Any) -> Tensor:
        module = model.module_
        targets = model.histories_, users, np.ones_like(users), None
        data = sequence_tensors(model, *targets, users=users)
        device = module.global_mean.device
        data.to(device)
        scores = torch.empty(len(users), len(items))
        candidates = torch.from_numpy(items).to(device)
        with torch.inference_mode(), threads_for(PLACES_AT_ONCE, module.width):
            for rows, past, places in data.whole_batches():
                places.pop("items")
                scores[rows] = module._pair_outputs(past, places, candidates)
        return scores


def sequence_tensors(
    model: Any,
    histories: Histories,
    sequences: np.ndarray,
    items: np.ndarray,
    times: np.ndarray | None,
    y: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    *,
    users: np.ndarray | None = None,
    **params: Any,
) -> SequenceTensors:
    """Make the tensors of histories and targets."""
    return SequenceTensors(
        histories,
        sequences,
        items,
        times,
        y,
        weight,
        time_unit=model.time_unit_,
        max_len=MAX_LEN,
        bidirectional=model.module_.bidirectional,
        users=users if model.module_.reads_users else None,
        **params,
    )


def rate(model: Any, data: SequenceTensors) -> np.ndarray:
    """Predict clipped ratings of targets, in the given order."""
    ratings, module = np.empty(len(data)), model.module_
    data.to(module.global_mean.device)
    with torch.inference_mode(), threads_for(PLACES_AT_ONCE, module.width):
        for rows, past, targets in data.whole_batches():
            ratings[rows] = module(**past, **targets).cpu().numpy()
    return clipped(model, ratings)


def check_input_unchanged(model: Any) -> None:
    """Raise if `input` has changed since the fit."""
    fitted = "interactions" if hasattr(model, "encoder_") else "sequences"
    if fitted != model.input:
        raise ValueError(
            f"input={model.input!r} was asked for, but the model was fitted with "
            f"input={fitted!r}. Set it back, or fit anew with warm_start=False."
        )


def _histories(model: Any, inputs: Inputs, y: np.ndarray, previous: Any) -> Histories:
    """Make the histories of all users, with the histories of `previous` before them."""
    n_users = n_ids(model)[0] + 1
    users, items, times = inputs["users"], inputs["items"], inputs.get("times")
    histories = Histories.of_last(users, items, y, times, n_users)
    return histories if previous is None else previous.histories_.extended(histories)


def _places(model: Any, inputs: Inputs, previous: Any) -> np.ndarray:
    """Find the place of each row in the histories, where only the last of equal rows stand."""
    last = last_rows(inputs["users"], inputs["items"], inputs.get("times"))
    numbers = _histories(model, inputs, np.arange(len(last)), None)
    if previous is not None:
        before = copy(previous.histories_)
        before.ratings = np.full(len(before.items), -1)
        numbers = before.extended(numbers)
    is_here = numbers.ratings >= 0
    places = np.empty(len(last), dtype=np.int64)
    places[numbers.ratings[is_here]] = np.flatnonzero(is_here)
    return places[last]


def _warn_of_items(model: Any, X: Any, items: np.ndarray) -> None:
    """Warn if items are of another kind than in `fit`; users of a history may be new."""
    vocabulary, values = id_columns(model, X)[1]
    vocabulary.warn_of_kind(values, np.count_nonzero(items == 0))


def _check_history(model: Any, X: Any, history: Any) -> tuple[Any, np.ndarray]:
    """Return the checked X_past and y_past of a history, or raise."""
    try:
        X_past, y_past = history
    except (TypeError, ValueError) as error:
        raise ValueError(
            "history must be a pair (X_past, y_past) of interactions with the columns of X "
            f"and their ratings, got {type(history).__name__}. Pass history=(X_past, y_past)."
        ) from error
    if hasattr(X_past, "shape") and X_past.shape[0] == 0:  # no history yet
        X_past, y_past = take_rows(X, slice(1)), np.array([np.nan])
    else:
        X_past = check_interactions(model, X_past, reset=False)
        y_past = check_ratings(model, y_past, input_name="y_past")
    check_consistent_length(X_past, y_past)
    return X_past, y_past
