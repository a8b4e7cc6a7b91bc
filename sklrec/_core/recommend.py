"""Lists of recommended items, and similar users and items, from a fitted model."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._core.choices import Items, choose_items, read_ids, users_of
from sklrec._data.checks import check_booleans, check_choice, check_positive
from sklrec._utils.runtime import own_settings
from sklrec._utils.types import Whole

# Scores in memory at once: 8 MiB of float32, which fit into the processor's cache.
SCORES_AT_ONCE = 2**21


@dataclass(frozen=True)
class Users:
    """Users who get lists. The functions take a range of the users."""

    ids: Any  # (n_users,)
    # Scores of all pairs of a user and an item, as the model's reader computes them, on the CPU.
    scores: Callable[[slice, Items], Tensor]
    seen: Callable[[slice], csr_array]  # by code of the items, (n_users, n_items + 1)


@own_settings()
def recommended(
    model: Any,
    users: Any,
    n_items: Whole,
    exclude_seen: bool,
    candidates: Any,
    exclude: Any,
    **options: Any,  # arguments of the reader's `scores`
) -> pd.DataFrame:
    """Recommend the items with the highest scores."""
    check_has_ids(model)
    vocabulary = model.encoder_.vocabularies_[0]
    users = users_of(model, candidates) if users is None else read_ids(users, "users")
    codes = vocabulary.codes(users)
    vocabulary.warn_of_kind(users, np.count_nonzero(codes == 0))

    def scores(rows: slice, items: Items) -> Tensor:
        return model._reader.scores(model, codes[rows], items.codes, **items.features, **options)

    asked = Users(users, scores, lambda rows: model.seen_[codes[rows]])
    return lists_of(model, asked, n_items, exclude_seen, candidates, exclude)


def lists_of(
    model: Any,
    users: Users,
    n_items: Whole,
    exclude_seen: bool,
    candidates: Any,
    exclude: Any,
) -> pd.DataFrame:
    """Make the table of the items with the highest scores of each user, in blocks of users."""
    check_booleans(exclude_seen=exclude_seen)
    items = choose_items(model, users.ids, candidates, exclude)
    n_items = min(check_positive(n_items, "n_items"), len(items))
    block = max(1, SCORES_AT_ONCE // max(1, len(items)))
    nothing = np.zeros(0, dtype=np.int64)
    found = [(nothing, nothing, nothing, np.zeros(0))]
    for first in range(0, len(users.ids) if len(items) else 0, block):
        some = slice(first, first + block)
        scores = users.scores(some, items)
        if (is_candidate := items.is_candidate(some)) is not None:
            scores.masked_fill_(torch.from_numpy(~is_candidate), -torch.inf)
        pairs = items.left_out(some, users.seen(some) if exclude_seen else None)
        scores[tuple(map(torch.from_numpy, pairs))] = -torch.inf
        top_scores, top_items = top(scores, n_items)
        row, rank = np.nonzero(top_scores > -np.inf)
        found.append((first + row, top_items[row, rank], rank + 1, top_scores[row, rank]))
    rows, places, rank, score = (np.concatenate(part) for part in zip(*found, strict=True))
    score = model._output(score.astype(np.float64))
    return table_of_lists(model, users.ids[rows], items.ids_of(places), rank, score)


def table_of_lists(
    model: Any, users: Any, items: Any, rank: np.ndarray, score: np.ndarray
) -> pd.DataFrame:
    """Make the table of recommended items from their IDs."""
    names = names_of_ids(model, "rank", "score")
    columns = zip([*names, "rank", "score"], (users, items, rank, score), strict=True)
    return as_frame(dict(columns))


def names_of_ids(model: Any, *others: str) -> list[str]:
    """Names of the fitted columns of users and items, or else user and item."""
    names = [vocabulary.name for vocabulary in model.encoder_.vocabularies_]
    is_usable = all(isinstance(name, str) and name not in others for name in names)
    return names if is_usable else ["user", "item"]


@own_settings()
def similar(model: Any, side: str, ids: Any, n: Whole, metric: str) -> pd.DataFrame:
    """Find the users or items with the most similar factors."""
    check_has_ids(model)
    which = ("user", "item").index(side)
    vocabulary = model.encoder_.vocabularies_[which]
    ids = read_ids(ids, f"{side}s")
    codes = vocabulary.codes(ids)
    if not codes.all():
        unknown = ids[codes == 0][:1].tolist()[0]
        raise ValueError(
            f"similar_{side}s compares {side}s that fit saw, and it did not see {unknown!r}. "
            f"Pass IDs that are among encoder_.categories_[{which}]."
        )
    n = min(check_positive(n, f"n_{side}s"), len(vocabulary) - 1)
    check_choice("metric", metric, ("cosine", "dot"))
    with torch.inference_mode():
        table = model._vectors(side)
        if metric == "cosine":
            table = torch.nn.functional.normalize(table)
        found = []
        for rows in torch.from_numpy(codes - 1).split(max(1, SCORES_AT_ONCE // len(table))):
            scores = table[rows] @ table.T
            if metric == "cosine":
                scores.clamp_(-1, 1)
            scores[torch.arange(len(rows)), rows] = -torch.inf
            found.append(top(scores, n))
    name = names_of_ids(model, "rank", "score")[which]
    scores, similar = (np.concatenate(part).ravel() for part in zip(*found, strict=True))
    return as_frame(
        {
            name: ids.repeat(n),
            f"similar_{name}": vocabulary.ids_of(similar + 1),
            "rank": np.tile(np.arange(1, n + 1), len(ids)),
            "score": scores.astype(np.float64),
        }
    )


def check_has_ids(model: Any) -> None:
    """Raise if the model knows no IDs, or if its reader reads none."""
    if not (hasattr(model, "encoder_") and hasattr(model._reader, "scores")):
        raise ValueError(
            "Recommending needs input='interactions', got input='sequences', whose X has "
            "neither users nor item IDs. Fit a model of interactions."
        )


def top(scores: Tensor, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the n highest scores of each row and their columns; ties go to the first column."""
    # One score more shows whether the last one is tied with others.
    found = scores.topk(min(n + 1, scores.shape[1]))
    values, columns = found.values, found.indices
    tied = (values[:, 1:] == values[:, :-1]).any(1).nonzero()[:, 0]
    values, columns = values[:, :n].clone(), columns[:, :n].clone()
    if len(tied):
        ordered = scores[tied].sort(descending=True, stable=True)
        values[tied], columns[tied] = ordered.values[:, :n], ordered.indices[:, :n]
    return values.numpy(), columns.numpy()


def as_frame(columns: dict[str, Any]) -> pd.DataFrame:
    """Make a table of columns in which no value is changed."""
    try:
        return pd.DataFrame(columns)
    except UnicodeEncodeError:  # as in read_ids
        return pd.DataFrame(
            {name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()}
        )
