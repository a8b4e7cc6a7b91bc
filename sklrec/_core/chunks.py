"""Source of rows in chunks, of which only one at a time is in memory."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sklrec._core.readers import (
    count_unknown,
    find_id_columns,
    id_columns,
    n_ids,
    new_rating_scale,
    with_previous_seen,
)
from sklrec._core.rows import (
    Rows,
    check_enough_ratings,
    device_of,
    has_validation,
    held_out_share,
    new_random_state,
    read_rows,
    stops_early,
)
from sklrec._data.growing_vocabulary import GrowingVocabulary
from sklrec._solvers.stored import StoredInteractions, seen_by_users
from sklrec._utils.runtime import new_generator
from sklrec.datasets._chunks import Chunk, ChunkedRatings
from sklrec.preprocessing import IDEncoder


@dataclass(frozen=True)
class Chunks:
    """Source of users, items and ratings in chunks."""

    # One pass over the chunks learns the IDs, and writes codes and ratings to files in random
    # order. The epochs read these files.

    folder: str  # for the files, removed by the caller
    X: ChunkedRatings
    y: Any
    sample_weight: Any
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None
    is_partial: ClassVar[bool] = False

    def read(self, model: Any, previous: Any) -> Rows:
        """Read all chunks, and let the model learn what needs no training."""
        if not model._takes_chunks:
            raise ValueError(
                f"{model!r:.200} needs all ratings at once and cannot be fitted to "
                "ratings in chunks. Use MFRegressor with svdpp=False, or pass all rows as X and y."
            )
        _check_not_passed(self.X, y=self.y, sample_weight=self.sample_weight)
        rng = new_random_state(model)
        generator = new_generator(rng)
        device_of(model)  # raises before all chunks are read
        stops = stops_early(model, self.X_val)
        validation = self._validation_chunks()
        training, valid, held_out = (
            StoredInteractions(Path(self.folder) / name, rng)
            for name in ("fit", "val", "held_out")
        )
        share = held_out_share(model) if stops and validation is None else 0.0
        self._store_training(model, share, training, held_out, rng, previous)
        seen = seen_by_users([training, held_out], *(n + 1 for n in n_ids(model)))
        model.seen_ = with_previous_seen(seen, previous)
        if validation is not None:
            _store_validation(model, validation, valid)
        elif share > 0:
            valid = held_out
        return Rows(
            training.statistics,
            generator,
            lambda: training,
            (lambda _: valid) if len(valid) else None,
            stops_early=stops,
        )

    def _store_training(
        self,
        model: Any,
        share: float,
        training: StoredInteractions,
        held_out: StoredInteractions,
        rng: np.random.RandomState,
        previous: Any,
    ) -> None:
        """Learn IDs and rating scale, and store each rating as a training or a held-out one."""
        vocabularies: list[GrowingVocabulary] = []  # of users and items
        scale = getattr(previous, "rating_scale_", None)
        for chunk in _check_consistent_weights(self.X._chunks()):
            with _error_context(chunk.where):
                is_first = previous is None and not vocabularies
                X, y, weight = read_rows(model, *chunk[1:], reset=is_first)
                if len(y) == 0:
                    continue
                if not vocabularies:
                    columns = find_id_columns(model, X, previous)
                    known = (
                        IDEncoder(columns=columns).fit(X)
                        if previous is None
                        else previous.encoder_
                    )
                    model.encoder_ = copy(known)
                    vocabularies = [GrowingVocabulary(ids) for ids in known.vocabularies_]
                scale = model.rating_scale_ = new_rating_scale(model, y, scale)
                users, items = (
                    vocabulary.encode(values)
                    for vocabulary, (_, values) in zip(
                        vocabularies, id_columns(model, X), strict=True
                    )
                )
            is_held_out = rng.random_sample(len(y)) < share
            for store, rows in ((training, ~is_held_out), (held_out, is_held_out)):
                w = None if chunk.weight is None else weight[rows]
                with _error_context(chunk.where):
                    store.append(users[rows], items[rows], y[rows], w)
        self._check_stored(model, share, len(training), len(held_out))
        model.encoder_.vocabularies_ = [vocabulary.finish() for vocabulary in vocabularies]

    def _check_stored(self, model: Any, share: float, n_training: int, n_held_out: int) -> None:
        """Raise if there are too few ratings to train on, or to hold out."""
        n_ratings = n_training + n_held_out
        if n_ratings == 0:
            raise ValueError(
                f"This {type(self.X).__name__} holds no ratings. A generator can be read only "
                "once: make a new one for each fit."
            )
        check_enough_ratings(model, n_ratings)
        if n_training == 0 or (share > 0 and n_held_out == 0):
            raise ValueError(
                f"early_stopping={model.early_stopping} holds out {share} of {n_ratings} "
                "ratings, which leaves one of the two parts empty. Pass X_val, or set "
                "early_stopping=False."
            )

    def _validation_chunks(self) -> Iterable[Chunk] | None:
        """Return the validation data in chunks, arrays as one chunk, or None without any."""
        X, y, weight = self.X_val, self.y_val, self.sample_weight_val
        if isinstance(X, ChunkedRatings):
            _check_not_passed(X, y_val=y, sample_weight_val=weight)
            return (chunk._replace(where=f"X_val, {chunk.where}") for chunk in X._chunks())
        return [Chunk("X_val", X, y, weight)] if has_validation(X, y, weight) else None


def _store_validation(model: Any, chunks: Iterable[Chunk], valid: StoredInteractions) -> None:
    """Store the ratings for the validation loss."""
    for chunk in _check_consistent_weights(chunks):
        with _error_context(chunk.where):
            X, y, weight = read_rows(model, *chunk[1:], reset=False, y_name="y_val")
            if len(y) == 0:
                continue
            inputs = model._reader.inputs(model, X)
        if len(valid) == 0:  # one warning is enough
            model._reader.warn_of_kind(model, X, count_unknown(inputs))
        w = None if chunk.weight is None else weight
        with _error_context(chunk.where):
            valid.append(inputs["users"], inputs["items"], y, w)
    if len(valid) == 0:
        raise ValueError("X_val holds no ratings. Leave it out, or pass some.")


def _check_consistent_weights(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Yield the chunks that are not empty; raise if only some of them have weights."""
    has_weights = None
    for chunk in chunks:
        if _is_empty(chunk.X) and _is_empty(chunk.y):
            continue
        if has_weights is None:
            has_weights = chunk.weight is not None
        if has_weights != (chunk.weight is not None):
            raise ValueError(
                f"{chunk.where} has {'no ' if has_weights else ''}weights, unlike the chunks "
                "before it. Give weights to all chunks, or to none."
            )
        yield chunk


def _is_empty(values: Any) -> bool:
    return hasattr(values, "__len__") and len(values) == 0


@contextmanager
def _error_context(where: str) -> Iterator[None]:
    """Put the name of the chunk in front of the message of errors that are raised inside."""
    try:
        yield
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"In {where}, counting its rows from 0: {error}") from error


def _check_not_passed(source: ChunkedRatings, **arguments: Any) -> None:
    """Raise if ratings or weights were passed in addition to chunks that hold them."""
    for name, values in arguments.items():
        if values is not None:
            raise ValueError(
                f"{name} was passed, but the {type(source).__name__} holds ratings and weights "
                f"itself. Leave {name} out."
            )
