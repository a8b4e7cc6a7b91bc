"""Fits to ratings in chunks, of which only one at a time is in memory."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

from sklrec._core.base import unchanged_on_failure
from sklrec._core.minibatch import MinibatchRatingRegressor
from sklrec._data.vocabulary import GrowingVocabulary
from sklrec._solvers.stored import StoredInteractions, seen_by_users
from sklrec._utils.runtime import new_generator
from sklrec.datasets._chunks import Chunk, ChunkedRatings
from sklrec.preprocessing import IDEncoder


class ChunkedRatingRegressor(MinibatchRatingRegressor):
    """Base of the estimators of users and items that also fit to ratings in chunks."""

    # One pass over the chunks learns the IDs, and writes codes and ratings to files in random
    # order. The epochs read these files.

    def _check_can_fit_chunks(self) -> None:
        """Raise if the parameters need all ratings at once."""

    def _fit_chunks(
        self,
        source: ChunkedRatings,
        y,
        sample_weight,
        X_val,
        y_val,
        sample_weight_val,
    ) -> Self:
        """Fit to chunks that are first stored in files of a temporary folder."""
        self._check_can_fit_chunks()
        _check_not_passed(source, y=y, sample_weight=sample_weight)
        with unchanged_on_failure(self), TemporaryDirectory(prefix="sklrec-") as folder:
            previous = copy(self) if self.warm_start and hasattr(self, "module_") else None
            rng = self._new_rng()
            generator = new_generator(rng)
            self._check_device()  # before all chunks are read
            stopping = self._stops_early(X_val)
            validation = self._validation_chunks(X_val, y_val, sample_weight_val)
            training, valid, held_out = (
                StoredInteractions(Path(folder) / name, rng) for name in ("fit", "val", "held_out")
            )
            share = self._held_out_share() if stopping and validation is None else 0.0
            self._store_training(source, share, training, held_out, rng, previous)
            n_users, n_items = (len(vocabulary) + 1 for vocabulary in self.encoder_.vocabularies_)
            seen = seen_by_users([training, held_out], n_users, n_items)
            self.seen_ = self._with_previous_seen(seen, previous)
            if validation is not None:
                self._store_validation(validation, valid)
            elif share > 0:
                valid = held_out
            interrupted = self._train(
                training.statistics,
                lambda: training,
                (lambda _: valid) if len(valid) else None,
                generator,
                previous,
                early_stopping=stopping,
            )
        return self._raise_if_interrupted(interrupted)

    def _store_training(
        self,
        source: ChunkedRatings,
        share: float,
        training: StoredInteractions,
        held_out: StoredInteractions,
        rng: np.random.RandomState,
        previous: Self | None,
    ) -> None:
        """Learn IDs and rating scale, and store each rating as a training or a held-out one."""
        vocabularies: list[GrowingVocabulary] = []  # of users and items
        for chunk in _check_consistent_weights(source._chunks()):
            with _error_context(chunk.where):
                is_first = previous is None and not vocabularies
                X, y, weight = self._check_rows(*chunk[1:], reset=is_first)
                if len(y) == 0:
                    continue
                if not vocabularies:
                    columns = self._find_columns(X, previous)
                    known = (
                        IDEncoder(columns=columns).fit(X)
                        if previous is None
                        else previous.encoder_
                    )
                    self.encoder_ = copy(known)
                    vocabularies = [GrowingVocabulary(ids) for ids in known.vocabularies_]
                self.rating_scale_ = self._new_rating_scale(y, not is_first)
                users, items = (
                    vocabulary.encode(values)
                    for vocabulary, (_, values) in zip(
                        vocabularies, self._id_columns(X), strict=True
                    )
                )
            is_held_out = rng.random_sample(len(y)) < share
            for store, rows in ((training, ~is_held_out), (held_out, is_held_out)):
                w = None if chunk.weight is None else weight[rows]
                with _error_context(chunk.where):
                    store.append(users[rows], items[rows], y[rows], w)
        self._check_stored(source, share, len(training), len(held_out))
        self.encoder_.vocabularies_ = [vocabulary.finish() for vocabulary in vocabularies]

    def _check_stored(
        self, source: ChunkedRatings, share: float, n_training: int, n_held_out: int
    ) -> None:
        """Raise if there are too few ratings to train on, or to hold out."""
        n_ratings = n_training + n_held_out
        if n_ratings == 0:
            raise ValueError(
                f"This {type(source).__name__} holds no ratings. A generator can be read only "
                "once: make a new one for each fit."
            )
        self._check_enough_ratings(n_ratings)
        if n_training == 0 or (share > 0 and n_held_out == 0):
            raise ValueError(
                f"early_stopping={self.early_stopping} holds out {share} of {n_ratings} ratings, "
                "which leaves one of the two parts empty. Pass X_val, or set "
                "early_stopping=False."
            )

    def _validation_chunks(
        self, X_val: Any, y_val: Any, sample_weight_val: Any
    ) -> Iterable[Chunk] | None:
        """Return the validation data in chunks, arrays as one chunk, or None without any."""
        if isinstance(X_val, ChunkedRatings):
            _check_not_passed(X_val, y_val=y_val, sample_weight_val=sample_weight_val)
            return (chunk._replace(where=f"X_val, {chunk.where}") for chunk in X_val._chunks())
        if not self._has_validation(X_val, y_val, sample_weight_val):
            return None
        return [Chunk("X_val", X_val, y_val, sample_weight_val)]

    def _store_validation(self, chunks: Iterable[Chunk], valid: StoredInteractions) -> None:
        """Store the ratings for the validation loss."""
        for chunk in _check_consistent_weights(chunks):
            with _error_context(chunk.where):
                X, y, weight = self._check_rows(*chunk[1:], reset=False, y_name="y_val")
                if len(y) == 0:
                    continue
                inputs = self._inputs(X)
            if len(valid) == 0:  # one warning is enough
                self._warn_of_kind(X, inputs)
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
