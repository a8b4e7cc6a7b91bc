"""Readers: from X to the inputs of a module, and to what is learned before the training."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import copy
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._data.checks import check_ratings, plain_scalar
from sklrec._data.features.side_features import (
    OWNERS,
    KnownFeatures,
    SideBlock,
    SideFeatures,
    assign_sides,
)
from sklrec._data.pair_columns import warn_of_wide_table
from sklrec._data.tables import (
    Frame,
    check_interactions,
    column_values,
    listed,
    resolve_sides,
)
from sklrec._data.user_ratings import UserRatings
from sklrec._data.vocabulary import Vocabulary
from sklrec._solvers.tensors import InteractionTensors
from sklrec._utils.warnings import warn
from sklrec.modules._rating_module import INPUTS_OF_TABLES
from sklrec.preprocessing import IDEncoder

# Arrays for some rows, by the names of the module's arguments.
Inputs: TypeAlias = dict[str, np.ndarray]
# What a new module needs besides sizes, by name.
Start: TypeAlias = dict[str, Any]
Learned: TypeAlias = tuple[Inputs, Start]

# A further rating that widens an automatic rating scale is far outside if the gap between it and
# the other ratings is wider than this number of times the range of the others.
FAR = 10.0
# More distinct ratings are probably not stars.
MAX_STARS = 1000


class Rated(NamedTuple):
    """Rows with ratings, as a reader returns them."""

    inputs: Inputs
    y: np.ndarray
    weight: np.ndarray

    def take(self, rows: np.ndarray) -> "Rated":
        """Select rows."""
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return Rated(inputs, self.y[rows], self.weight[rows])


class PairReader:
    """Reads users and items. `model` is the estimator that is fitted or that predicts."""

    def check_X(self, model: Any, X: Any, *, reset: bool) -> Any:
        """Check X; with `reset`, store its number and names of columns."""
        return check_interactions(model, X, reset=reset)

    def check_y(self, model: Any, y: Any, *, input_name: str) -> np.ndarray:
        """Check ratings, and return them as float64."""
        return check_ratings(model, y, input_name=input_name)

    def learn(self, model: Any, X: Any, y: Any, weight: Any, previous: Any) -> Learned:
        """Set the fitted attributes that do not need training, and return the module's inputs."""
        return learn_pairs(model, X, y, previous), {}

    def inputs(self, model: Any, X: Any, rows: slice = slice(None)) -> Inputs:
        """Make the arrays that the module takes for some rows."""
        users, items = (
            vocabulary.codes(values[rows], first_row=rows.start or 0)
            for vocabulary, values in id_columns(model, X)
        )
        return {"users": users, "items": items}

    def warn_of_kind(self, model: Any, X: Any, n_unknown: np.ndarray) -> None:
        """Warn if IDs are of another kind than in `fit`, or if no row has a known one."""
        columns, n_rows = id_columns(model, X), X.shape[0]
        for (vocabulary, values), n in zip(columns, n_unknown.tolist(), strict=True):
            if vocabulary.warn_of_kind(values, n):
                return
        # A single row of a new user and a new item is usual where predictions are served.
        if n_rows > 1 and (n_unknown == n_rows).all() and not _reads_features(model):
            (users, of_rows), (items, _) = columns
            warn(
                f"No row has a user or an item that fit saw: all {n_rows} rows are predicted as "
                f"an unknown user and an unknown item. Check that the column {users.name!r}, with "
                f"{plain_scalar(of_rows[0])!r} in row 0, holds users such as "
                f"{plain_scalar(users.ids[0])!r}, and that the column {items.name!r} holds items."
            )

    def training_data(self, model: Any, rated: Rated, previous: Any) -> InteractionTensors:
        """Make the tensors to train on."""
        return _pair_tensors(rated)

    def validation_data(self, model: Any, rated: Rated, training: Any) -> InteractionTensors:
        """Make the tensors for the validation loss."""
        # Its batches are views, which a callback might change.
        return _pair_tensors(rated._replace(y=rated.y.copy()))

    def row_counts(self, model: Any) -> dict[str, np.ndarray]:
        """Count the ratings so far of the rows of the module's tables, by side."""
        return {"user": model.seen_.sum(axis=1), "item": model.seen_.sum(axis=0)}

    @torch.no_grad()
    def scores(
        self, model: Any, users: np.ndarray, items: np.ndarray, **options: Any
    ) -> Tensor:  # (n_users, n_items)
        """Compute the ratings of all pairs of codes, without mean and scale, on the CPU.

        Options are the result of `features_of_items`, and other arguments of the module.
        """
        return pair_scores(model, users, items, options)

    def item_features(self, model: Any) -> list[Any]:
        """Names of the side features of items, which `features_of_items` reads from a table."""
        return []


class FeatureReader(PairReader):
    """Reads users, items and side features, as arrays by kind."""

    def learn(self, model: Any, X: Any, y: Any, weight: Any, previous: Any) -> Learned:
        if previous is None:
            ids = resolve_sides(model, X, user=model.user, item=model.item)
            options = {"categorical_features": model.categorical_features, "weight": weight}
            side = SideFeatures.learn(model, X, ids, **options, y=y)
            known = KnownFeatures()
        else:
            side, known = previous.side_features_.extend(X), previous.known_features_
        model.side_features_ = side
        inputs = learn_pairs(model, X, y, previous) | side.arrays(X)
        counts = np.zeros(side.n_values + 1, np.int64)
        if previous is not None:
            counts[: len(previous.value_counts_)] += previous.value_counts_
        for group in set(INPUTS_OF_TABLES["value"][1]) & set(inputs):
            counts += np.bincount(inputs[group].ravel(), minlength=len(counts))
        model.value_counts_ = counts
        codes = {"user": inputs["users"], "item": inputs["items"]}
        model.known_features_ = known.extend(side, X, codes)
        return inputs, {}

    def inputs(self, model: Any, X: Any, rows: slice = slice(None)) -> Inputs:
        return super().inputs(model, X, rows) | model.side_features_.arrays(X, rows)

    def row_counts(self, model: Any) -> dict[str, np.ndarray]:
        return super().row_counts(model) | {"value": model.value_counts_}

    @torch.no_grad()
    def scores(self, model: Any, users: np.ndarray, items: np.ndarray, **options: Any) -> Tensor:
        known = model.known_features_
        sides = {
            "user_side": known.rows("user", users),
            "item_side": options.get("item_side") or known.rows("item", items),
            "of_users": known.of_users,
        }
        return pair_scores(model, users, items, sides)

    def item_features(self, model: Any) -> list[Any]:
        return [name for name, side in model.known_features_.side_of.items() if side == "item"]

    def features_of_items(self, model: Any, table: Frame) -> dict[str, Any]:
        rows = _as_rows_of_X(model, table, self.item_features(model))
        return {"item_side": model.side_features_.arrays(rows)}


class BlockReader(PairReader):
    """Reads users, items and side features, as rows of a table with weights."""

    def learn(self, model: Any, X: Any, y: Any, weight: Any, previous: Any) -> Learned:
        vars(model).pop("stars_", None)  # of a fit with another loss
        if model.loss == "ordinal":
            model.stars_ = _different_ratings(y)
        side = SideFeatures.learn(
            model,
            X,
            resolve_sides(model, X, user=model.user, item=model.item),
            categorical_features=model.categorical_features,
            columns=model.side_features,
            weight=weight,
            y=y,
        )
        inputs = learn_pairs(model, X, y, previous)
        blocks = model.side_blocks_ = assign_sides(side, X, inputs["users"], inputs["items"])
        start = described_ids(blocks, X, inputs, (0, 0))
        vars(model).pop("user_ratings_", None)  # of the fit that this one continues
        if model.loss == "squared_error" and not blocks["context"].names:
            columns = inputs["users"], inputs["items"], y, weight
            model.user_ratings_ = UserRatings.of(*columns, n_ids(model)[0])
        return inputs | block_arrays({"context": blocks["context"]}, X), start

    def inputs(self, model: Any, X: Any, rows: slice = slice(None)) -> Inputs:
        return super().inputs(model, X, rows) | block_arrays(model.side_blocks_, X, rows)

    def item_features(self, model: Any) -> list[Any]:
        return model.side_blocks_["item"].names

    def features_of_items(self, model: Any, table: Frame) -> dict[str, Any]:
        rows = _as_rows_of_X(model, table, self.item_features(model))
        return block_arrays({"item": model.side_blocks_["item"]}, rows)


def _as_rows_of_X(model: Any, table: Frame, names: list[Any]) -> Frame:
    """Make rows as in X of a table of items and their side features; the rest is missing."""
    if missing := [name for name in names if name not in table.names]:
        raise ValueError(
            f"candidates describes items, but it lacks the side feature {missing[0]!r}. Give it "
            f"the columns of all side features of items: {listed(names)}."
        )
    known: list[Any] = list(model.feature_names_in_)

    def column(position: int) -> Any:
        if (name := known[position]) in names:
            return table.column(table.names.index(name))
        return np.full(len(table), None)

    return Frame(None, known, len(table), column)


def _pair_tensors(rated: Rated) -> InteractionTensors:
    # Weights of 1 change nothing. Arrays that are not writable are copied, as torch wants it.
    weight = torch.tensor(rated.weight) if (rated.weight != 1).any() else None
    y = torch.from_numpy(rated.y) if rated.y.flags.writeable else torch.tensor(rated.y)
    return InteractionTensors(rated.inputs, y, weight)


def learn_pairs(model: Any, X: Any, y: np.ndarray, previous: Any) -> Inputs:
    """Learn the rating scale, the IDs and the seen pairs, and return the codes."""
    model.rating_scale_ = new_rating_scale(model, y, getattr(previous, "rating_scale_", None))
    return learn_ids(model, X, previous)


def learn_ids(model: Any, X: Any, previous: Any) -> Inputs:
    """Learn the IDs and the seen pairs, and return the codes."""
    columns = find_id_columns(model, X, previous)
    if previous is None:
        model.encoder_ = IDEncoder(columns=columns).fit(X)
    else:
        model.encoder_ = copy(previous.encoder_).partial_fit(X)
    inputs = PairReader().inputs(model, X)
    model.seen_ = with_previous_seen(
        _seen_pairs(model, inputs["users"], inputs["items"]), previous
    )
    return inputs


def find_id_columns(model: Any, X: Any, previous: Any) -> tuple[int, ...]:
    """Find the positions of the columns of users and items."""
    columns = resolve_sides(model, X, user=model.user, item=model.item)
    is_automatic = model.user == "auto" == model.item
    if previous is None and is_automatic and "user" not in getattr(model, "feature_names_in_", ()):
        warn_of_wide_table(X)
    if previous is not None and columns != previous.encoder_.column_indices_:
        raise ValueError(
            f"user={model.user!r} and item={model.item!r} are other columns than those of the "
            "model that the training continues. Set them back, or fit with warm_start=False."
        )
    return columns


def id_columns(model: Any, X: Any) -> list[tuple[Vocabulary, Any]]:
    """Pair the vocabularies of users and items with the values of their columns."""
    encoder = model.encoder_
    return [
        (vocabulary, column_values(X, position))
        for vocabulary, position in zip(
            encoder.vocabularies_, encoder.column_indices_, strict=True
        )
    ]


def n_ids(model: Any) -> tuple[int, int]:
    """Return the numbers of known users and items."""
    n_users, n_items = (len(vocabulary) for vocabulary in model.encoder_.vocabularies_)
    return n_users, n_items


def count_unknown(inputs: Inputs) -> np.ndarray:
    """Count the rows with an unknown user and the rows with an unknown item."""
    names = [name for name in ("users", "items") if name in inputs]
    return np.array([np.count_nonzero(inputs[name] == 0) for name in names])


def described_ids(
    blocks: dict[str, SideBlock], X: Any, inputs: Inputs, n_known: tuple[int, int]
) -> Start:
    """Make the codes and side features of the new users and of the new items."""
    described = {}
    for name, first in zip(OWNERS, n_known, strict=True):
        codes, rows = np.unique(inputs[f"{name}s"], return_index=True)
        is_new = codes > first
        arrays = codes[is_new], *blocks[name].arrays(X, rows[is_new])
        described[name] = [torch.from_numpy(values) for values in arrays]
    return described


def pair_scores(
    model: Any, users: np.ndarray, items: np.ndarray, sides: dict[str, Any]
) -> Tensor:  # (n_users, n_items)
    """Compute the scores of all pairs of codes; `sides` are further arguments of the module."""
    device = model.module_.global_mean.device

    def to_device(values: Any) -> Any:
        if isinstance(values, dict):
            return {name: to_device(part) for name, part in values.items()}
        return torch.from_numpy(values).to(device) if isinstance(values, np.ndarray) else values

    return model.module_._pair_scores(*map(to_device, (users, items)), **to_device(sides)).cpu()


def with_previous_seen(seen: csr_array, previous: Any) -> csr_array:
    """Add the pairs of the fits that this fit continues."""
    if previous is None:
        return seen
    before = previous.seen_.copy()
    before.resize(seen.shape)
    return seen + before


def new_rating_scale(
    model: Any, y: np.ndarray, before: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Find the lowest and the highest rating, or check ratings against given ones."""
    if model.rating_scale is None:
        return None
    if isinstance(model.rating_scale, str):
        low, high = float(y.min()), float(y.max())
        if before is not None:
            low, high = min(low, before[0]), max(high, before[1])
            if far := _far_ratings(y, *before):
                warn(
                    f"The rating {far[0]:g} is far outside the rating scale so far, from "
                    f"{before[0]:g} to {before[1]:g}, and widens it. If it is an error, drop "
                    "it, and set the lowest and the highest rating, such as "
                    "rating_scale=(1, 5)."
                )
        return low, high
    try:
        low, high = (float(bound) for bound in model.rating_scale)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not low < high:
        raise ValueError(
            "rating_scale must be 'auto', None or the lowest and the highest rating, such as "
            f"(1, 5), got {model.rating_scale!r}."
        )
    outside = np.flatnonzero((y < low) | (y > high))
    if len(outside):
        raise ValueError(
            f"Ratings must lie inside rating_scale={model.rating_scale!r}, got "
            f"{y[outside[0]]:g} in row {outside[0]} and {len(outside)} such rows in all. Drop "
            "them, give a wider rating_scale, or set rating_scale='auto'."
        )
    return low, high


def block_arrays(blocks: dict[str, SideBlock], X: Any, rows: slice = slice(None)) -> Inputs:
    """Make the rows of tables and the weights of blocks that have columns."""
    inputs = {}
    for name, block in blocks.items():
        if block.names:
            inputs[f"{name}_values"], inputs[f"{name}_weights"] = block.arrays(X, rows)
    return inputs


def _reads_features(model: Any) -> bool:
    """Whether side features can tell unknown IDs apart."""
    of_rows = getattr(model, "side_features_", None)
    blocks = getattr(model, "side_blocks_", {})
    return bool(of_rows and of_rows.columns) or any(block.names for block in blocks.values())


def _different_ratings(y: np.ndarray) -> np.ndarray:
    """Sort the distinct ratings, if they are few enough to be classes."""
    stars = np.unique(y)
    if len(stars) > MAX_STARS:
        raise ValueError(
            f"loss='ordinal' takes ratings as classes, such as the stars 1 to 5, got "
            f"{len(stars)} different ones. Round them, or set loss='squared_error'."
        )
    return stars


def _seen_pairs(model: Any, users: np.ndarray, items: np.ndarray) -> csr_array:
    """Make the matrix of which user code (row) interacted with which item code (column)."""
    n_users, n_items = (n + 1 for n in n_ids(model))
    # Sorting single numbers takes half the time that csr_array needs for pairs.
    pairs = users * np.int64(n_items) + items
    pairs.sort()
    pairs = pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))]
    bounds = np.searchsorted(pairs, np.arange(n_users + 1) * np.int64(n_items))
    columns = (pairs % n_items).astype(np.int32)
    return csr_array(
        (np.ones(len(columns), bool), columns, bounds.astype(np.int32)), (n_users, n_items)
    )


def _far_ratings(y: np.ndarray, low: float, high: float) -> list[float]:
    """Find ratings far outside of an earlier range, at its end of a wide gap between ratings."""
    # A gap of ten widths does not occur if the first ratings are 4.5 and 5, and the next one is
    # 0.5. Counts that grow by a factor have no such gap either, unless one is alone.
    values = np.unique(np.concatenate([[low, high], y]))
    first, last = (low, high) if low < high else (values[0], values[-1])
    ends, starts = values[1:], values[:-1]
    is_far_above = (starts >= high) & (starts > first) & (ends - starts > FAR * (starts - first))
    is_far_below = (ends <= low) & (ends < last) & (ends - starts > FAR * (last - ends))
    return [*ends[is_far_above].tolist(), *starts[is_far_below].tolist()]
