"""Fitting to ratings that come in chunks, of which no more than one is in memory."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch

from sklrec._core.base import unchanged_on_failure
from sklrec._core.minibatch import MinibatchRatingRegressor
from sklrec._data.vocabulary import GrowingVocabulary
from sklrec._solvers.stored import StoredInteractions, seen_by_users
from sklrec._utils.rng import new_generator
from sklrec.datasets._chunks import Chunk, ChunkedRatings
from sklrec.modules._rating_module import RatingModule
from sklrec.preprocessing import IDEncoder


class ChunkedRatingRegressor(MinibatchRatingRegressor):
    """Base of the estimators of users and items that also fit to ratings in chunks.

    One pass over the chunks learns the IDs and copies what the training reads, codes and ratings,
    to files in random order. The epochs read these.

    A subclass brings `_make_module`, and `_check_fits_chunks` if it cannot always do so.
    """

    @abstractmethod
    def _make_module(self, mean: float, scale: float, generator: torch.Generator) -> RatingModule:
        """Make the untrained module, for ratings of that mean and standard deviation."""

    def _check_fits_chunks(self) -> None:
        """Raise if the parameters ask for what needs all ratings at once."""

    def _fit_chunks(
        self,
        source: ChunkedRatings,
        y,
        sample_weight,
        X_val,
        y_val,
        sample_weight_val,
    ) -> Self:
        self._check_fits_chunks()
        _refuse_twice(source, y=y, sample_weight=sample_weight)
        with unchanged_on_failure(self), TemporaryDirectory(prefix="sklrec-") as folder:
            previous = copy(self) if self.warm_start and hasattr(self, "module_") else None
            rng = self._new_rng()
            generator = new_generator(rng)
            device = self._check_device()
            stopping = self._stops_early(X_val)
            validation = self._validation_chunks(X_val, y_val, sample_weight_val)
            training, valid, held_out = (
                StoredInteractions(Path(folder) / name, rng) for name in ("fit", "val", "held_out")
            )
            share = self._share_held_out() if stopping and validation is None else 0.0
            self._store(source, share, training, held_out, rng, previous)
            self.seen_ = self._seen_in([training, held_out], previous)
            if validation is not None:
                self._store_validation(validation, valid)
            elif share > 0:
                valid = held_out
            if previous is None:
                self.module_ = self._make_module(*training.mean_and_scale(), generator)
            before = None if previous is None else self._go_on_from(previous, generator)
            self.module_.to(device)
            data = training.to(device)
            valid_data = valid.to(device) if len(valid) else None
            snapshot = partial(self._snapshot, previous, valid_data is not None)
            solver: Any = self._new_solver(early_stopping=stopping, snapshot=snapshot)
            outcome = solver.train(self.module_, data, valid_data, generator, before)
            self._record(outcome, previous, with_validation=valid_data is not None)
        return self._or_interrupt(outcome.interrupted)

    def _store(
        self,
        source: ChunkedRatings,
        share: float,
        training: StoredInteractions,
        held_out: StoredInteractions,
        rng: np.random.RandomState,
        previous: Self | None,
    ) -> None:
        """Learn the IDs and the rating scale, and store the ratings, a share of them apart."""
        growing: list[GrowingVocabulary] = []
        for chunk in _alike(source._chunks()):
            with _located(chunk.where):
                is_first = previous is None and not growing
                X, y, weight = self._check_rows(*chunk[1:], reset=is_first)
                if len(y) == 0:
                    continue
                if not growing:
                    columns = self._find_columns(X, previous)
                    known = (
                        IDEncoder(columns=columns).fit(X)
                        if previous is None
                        else previous.encoder_
                    )
                    self.encoder_ = copy(known)
                    growing = [GrowingVocabulary(ids) for ids in known.vocabularies_]
                self.rating_scale_ = self._new_rating_scale(y, not is_first)
                users, items = (
                    vocabulary.encode(values)
                    for vocabulary, (_, values) in zip(growing, self._id_columns(X), strict=True)
                )
            apart = rng.random_sample(len(y)) < share
            for store, rows in ((training, ~apart), (held_out, apart)):
                w = None if chunk.weight is None else weight[rows]
                with _located(chunk.where):
                    store.append(users[rows], items[rows], y[rows], w)
        n_ratings = len(training) + len(held_out)
        if n_ratings == 0:
            raise ValueError(
                f"This {type(source).__name__} holds no ratings. A generator that was read before "
                "gives no more: make a new one for each fit."
            )
        self._refuse_too_few(n_ratings)
        if len(training) == 0 or (share > 0 and len(held_out) == 0):
            raise ValueError(
                f"early_stopping={self.early_stopping} holds out {share} of {n_ratings} ratings, "
                "which leaves one of the two parts empty. Pass X_val, or set "
                "early_stopping=False."
            )
        self.encoder_.vocabularies_ = [vocabulary.finish() for vocabulary in growing]

    def _seen_in(self, stores: list[StoredInteractions], previous: Self | None) -> Any:
        n_users, n_items = (len(vocabulary) + 1 for vocabulary in self.encoder_.vocabularies_)
        return self._with_seen_before(seen_by_users(stores, n_users, n_items), previous)

    def _validation_chunks(
        self, X_val: Any, y_val: Any, sample_weight_val: Any
    ) -> Iterable[Chunk] | None:
        """The validation data, if there is any; arrays are one chunk."""
        if isinstance(X_val, ChunkedRatings):
            _refuse_twice(X_val, y_val=y_val, sample_weight_val=sample_weight_val)
            return (chunk._replace(where=f"X_val, {chunk.where}") for chunk in X_val._chunks())
        if not self._has_validation(X_val, y_val, sample_weight_val):
            return None
        return [Chunk("X_val", X_val, y_val, sample_weight_val)]

    def _store_validation(self, chunks: Iterable[Chunk], valid: StoredInteractions) -> None:
        """Store the ratings that the validation loss is measured on."""
        for chunk in _alike(chunks):
            with _located(chunk.where):
                X, y, weight = self._check_rows(*chunk[1:], reset=False, y_name="y_val")
                if len(y) == 0:
                    continue
                inputs = self._inputs(X)
            if len(valid) == 0:  # once is enough
                self._warn_of_kind(X, inputs)
            w = None if chunk.weight is None else weight
            with _located(chunk.where):
                valid.append(inputs["users"], inputs["items"], y, w)
        if len(valid) == 0:
            raise ValueError("X_val holds no ratings. Leave it out, or pass some.")


def _alike(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The chunks that hold something; raise if only some of them have weights."""
    weighted = None
    for chunk in chunks:
        if _is_empty(chunk.X) and _is_empty(chunk.y):
            continue
        if weighted is None:
            weighted = chunk.weight is not None
        if weighted != (chunk.weight is not None):
            raise ValueError(
                f"{chunk.where} has {'no ' if weighted else ''}weights, unlike those before it. "
                "Give all chunks weights, or none."
            )
        yield chunk


def _is_empty(values: Any) -> bool:
    return hasattr(values, "__len__") and len(values) == 0


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Say in which chunk it is that something is wrong."""
    try:
        yield
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"In {where}, counting its rows from 0: {error}") from error


def _refuse_twice(source: ChunkedRatings, **given: Any) -> None:
    """Raise if ratings or weights were also passed on their own."""
    for name, values in given.items():
        if values is not None:
            raise ValueError(
                f"{name} was passed, but the {type(source).__name__} in place of X says itself "
                f"what the ratings and their weights are. Leave {name} out."
            )
