"""Recommendations from a fitted rating model."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping, Sequence
from datetime import date
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_list_like
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._data.checks import check_booleans, check_choice, check_positive
from sklrec._data.tables import as_column
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.runtime import own_settings
from sklrec._utils.types import Whole

# Scores in memory at once: 8 MiB of float32, which fit into the processor's cache.
SCORES_AT_ONCE = 2**21


@own_settings()
def recommended(
    model: Any, users: Any, n_items: Whole, exclude_seen: bool, candidates: Any
) -> pd.DataFrame:
    """Recommend the items with the highest predicted ratings."""
    _check_has_ids(model)
    check_booleans(exclude_seen=exclude_seen)
    user_vocabulary, item_vocabulary = model.encoder_.vocabularies_
    users = read_ids(users, "users")
    user_codes = user_vocabulary.codes(users)
    user_vocabulary.warn_of_kind(users, np.count_nonzero(user_codes == 0))
    item_codes, allowed = _candidates(item_vocabulary, candidates, users)
    n_items = min(check_positive(n_items, "n_items"), len(item_codes))
    block = max(1, SCORES_AT_ONCE // len(item_codes))
    found = []
    for first in range(0, len(user_codes), block):
        codes = user_codes[first : first + block]
        scores = model._reader.scores(model, codes, item_codes)
        if allowed is not None:
            scores[~torch.from_numpy(allowed[first : first + block].toarray())] = -torch.inf
        if exclude_seen:
            # (n_users of the block, n_candidates)
            row, column = model.seen_[codes][:, item_codes].nonzero()
            scores[torch.from_numpy(row), torch.from_numpy(column)] = -torch.inf
        top_scores, top_items = top(scores, n_items)
        row, rank = np.nonzero(top_scores > -np.inf)
        chosen = item_codes[top_items[row, rank]]
        found.append((first + row, chosen, rank + 1, top_scores[row, rank]))
    rows, items, rank, score = (np.concatenate(part) for part in zip(*found, strict=True))
    score = model._output(score.astype(np.float64))
    return table_of_lists(model, users[rows], items, rank, score)


def table_of_lists(
    model: Any, users: Any, items: np.ndarray, rank: np.ndarray, score: np.ndarray
) -> pd.DataFrame:
    """Make the table of recommended items from their codes."""
    ids = model.encoder_.vocabularies_[1].ids_of(items)
    return _as_frame({"user": users, "item": ids, "rank": rank, "score": score})


@own_settings()
def similar(model: Any, side: str, ids: Any, n: Whole, metric: str) -> pd.DataFrame:
    """Find the users or items with the most similar factors."""
    _check_has_ids(model)
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
    scores, similar = (np.concatenate(part).ravel() for part in zip(*found, strict=True))
    return _as_frame(
        {
            side: ids.repeat(n),
            f"similar_{side}": vocabulary.ids_of(similar + 1),
            "rank": np.tile(np.arange(1, n + 1), len(ids)),
            "score": scores.astype(np.float64),
        }
    )


def _check_has_ids(model: Any) -> None:
    """Raise if the model knows no IDs, or if its reader reads none."""
    if not (hasattr(model, "encoder_") and hasattr(model._reader, "scores")):
        raise ValueError(
            "Recommending needs input='interactions', got input='sequences', whose X has "
            "neither users nor item IDs. Fit a model of interactions."
        )


def _candidates(
    vocabulary: Vocabulary, candidates: Any, users: Any
) -> tuple[np.ndarray, csr_array | None]:
    """Give the codes of all candidates, and a mask if they differ by user."""
    if candidates is None:
        return np.arange(1, len(vocabulary) + 1), None
    if not isinstance(candidates, Mapping):
        return np.unique(_known_items(vocabulary, read_ids(candidates, "candidates"))), None
    missing = [user for user in users.tolist() if user not in candidates]
    if missing:
        raise ValueError(
            f"candidates must have a list of items for each user, got none for {missing[0]!r}."
        )
    lists = [read_ids(candidates[user], f"candidates[{user!r}]") for user in users.tolist()]
    flat = pd.concat([pd.Series(items) for items in lists], ignore_index=True)
    flat_codes = _known_items(vocabulary, read_ids(flat, "candidates"))
    codes, columns = np.unique(flat_codes, return_inverse=True)
    rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    is_allowed = np.ones(len(rows), dtype=bool)
    # (n_users, n_codes)
    return codes, csr_array((is_allowed, (rows, columns)), (len(lists), len(codes)))


def _known_items(vocabulary: Vocabulary, items: Any) -> np.ndarray:
    codes = vocabulary.codes(items)
    if not codes.all():
        unknown = items[codes == 0][:1].tolist()[0]
        raise ValueError(
            f"candidates must be items that fit saw, and it did not see {unknown!r}. Pass "
            "IDs that are among encoder_.categories_[1]."
        )
    return codes


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


def _as_frame(columns: dict[str, Any]) -> pd.DataFrame:
    try:
        return pd.DataFrame(columns)
    except UnicodeEncodeError:  # as in read_ids
        return pd.DataFrame(
            {name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()}
        )


def read_ids(values: Any, name: str) -> Any:
    """Read a list of IDs as a one-dimensional array; messages call it `name`."""
    if not is_list_like(values):
        is_scalar = isinstance(values, str | bytes | Number | date | np.generic)
        is_id = is_scalar and not pd.isna(values)
        advice = f"[{values!r}]" if is_id else "a list, an array or a column of IDs"
        raise ValueError(f"{name} must be a list of IDs, got {values!r:.200}. Pass {advice}.")
    is_table = len(getattr(values, "shape", (0,))) != 1
    if is_table or not (isinstance(values, Sequence) or hasattr(values, "__array__")):
        raise ValueError(
            f"{name} must be a list or a column of IDs, got a {type(values).__name__}. Pass "
            f"{'one of its columns' if is_table else f'list({name})'}."
        )
    if len(values) == 0:
        raise ValueError(f"{name} must hold at least one ID, got none.")
    return as_column(values)
