"""Recommendations from a fitted rating model."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_list_like
from scipy.sparse import csr_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklrec._utils.warnings import warn
from sklrec.preprocessing import IDEncoder

# Scores in memory at once: 8 MiB of float32, which fit into the processor's cache.
SCORES_AT_ONCE = 2**21


class RecommenderMixin:
    """Mixin for estimators that score all items for a user."""

    encoder_: IDEncoder
    module_: Any
    rating_scale_: tuple[float, float] | None
    seen_: csr_array

    def recommend(self, users, n_items=10, *, exclude_seen=True, candidates=None):
        """Recommend the items with the highest predicted ratings.

        Parameters
        ----------
        users : array-like of shape (n_users,)
            User IDs. An unknown user gets the items that are rated highest regardless of the
            user.
        n_items : int, default=10
            Number of items for each user, or fewer if not enough items are left.
        exclude_seen : bool, default=True
            Whether to leave out the items that the user rated in `fit` and `partial_fit`.
        candidates : array-like of shape (n_candidates,) or dict, default=None
            IDs of the items to choose from. ``None`` means all known items. A dict maps each
            user of `users` to a list of item IDs.

        Returns
        -------
        DataFrame of shape (n_recommendations, 4)
            Columns user, item, rank (from 1) and score (the predicted rating). The users have the
            order of `users`. Items with the same score have the order of
            ``encoder_.categories_[1]``.

        Raises
        ------
        ValueError
            If a candidate is not a known item, or if a user has no candidates.

        Warns
        -----
        UserWarning
            If users are unknown because their IDs are of another kind than the IDs that `fit`
            saw.
        """
        self._check_recommends()
        user_vocabulary, item_vocabulary = self.encoder_.vocabularies_
        users = read_ids(users, "users")
        user_codes = user_vocabulary.codes(users)
        n_unknown = int(np.count_nonzero(user_codes == 0))
        if message := user_vocabulary.kind_mismatch(users, n_unknown):
            warn(message)
        item_codes, allowed = self._candidates(candidates, users)
        n_items = min(check_positive(n_items, "n_items"), len(item_codes))
        block = max(1, SCORES_AT_ONCE // len(item_codes))
        found = []
        for first in range(0, len(user_codes), block):
            codes = user_codes[first : first + block]
            scores = self._scores(codes, item_codes)
            if allowed is not None:
                scores[~torch.from_numpy(allowed[first : first + block].toarray())] = -torch.inf
            if exclude_seen:
                # (n_users of the block, n_candidates)
                row, column = self.seen_[codes][:, item_codes].nonzero()
                scores[torch.from_numpy(row), torch.from_numpy(column)] = -torch.inf
            top_scores, top_items = top(scores, n_items)
            row, rank = np.nonzero(top_scores > -np.inf)
            chosen = item_codes[top_items[row, rank]]
            found.append((first + row, chosen, rank + 1, top_scores[row, rank]))
        rows, items, rank, score = (np.concatenate(part) for part in zip(*found, strict=True))
        zero, scale = self.module_.zero.item(), self.module_.scale.item()
        score = zero + scale * score.astype(np.float64)
        if self.rating_scale_ is not None:
            score = score.clip(*self.rating_scale_)
        return _as_frame(
            {
                "user": users[rows],
                "item": item_vocabulary.ids_of(items),
                "rank": rank,
                "score": score,
            }
        )

    def similar_items(self, items, n_items=10, metric="cosine"):
        """Find the items whose factors are most similar.

        Parameters
        ----------
        items : array-like of shape (n,)
            Known item IDs.
        n_items : int, default=10
            Number of similar items for each item, or fewer if there are not enough items.
        metric : {'cosine', 'dot'}, default='cosine'
            The cosine of the factors of the two items, from -1 to 1, or their dot product. The
            dot product grows with the size of the factors.

        Returns
        -------
        DataFrame of shape (n_similar, 4)
            Columns item, similar_item, rank (from 1) and score (by `metric`).

        Raises
        ------
        ValueError
            If an item is unknown.
        """
        return self._similar("item", items, n_items, metric)

    def similar_users(self, users, n_users=10, metric="cosine"):
        """Find the users whose factors are most similar.

        Parameters
        ----------
        users : array-like of shape (n,)
            Known user IDs.
        n_users : int, default=10
            Number of similar users for each user, or fewer if there are not enough users.
        metric : {'cosine', 'dot'}, default='cosine'
            The cosine of the factors of the two users, from -1 to 1, or their dot product. The
            dot product grows with the size of the factors.

        Returns
        -------
        DataFrame of shape (n_similar, 4)
            Columns user, similar_user, rank (from 1) and score (by `metric`).

        Raises
        ------
        ValueError
            If a user is unknown.
        """
        return self._similar("user", users, n_users, metric)

    def _similar(self, side: str, ids: Any, n: int, metric: str) -> pd.DataFrame:
        self._check_recommends()
        which = ("user", "item").index(side)
        vocabulary = self.encoder_.vocabularies_[which]
        ids = read_ids(ids, f"{side}s")
        codes = vocabulary.codes(ids)
        if not codes.all():
            unknown = ids[codes == 0][:1].tolist()[0]
            raise ValueError(
                f"similar_{side}s compares {side}s that fit saw, and it did not see {unknown!r}. "
                f"Pass IDs that are among encoder_.categories_[{which}]."
            )
        n = min(check_positive(n, f"n_{side}s"), len(vocabulary) - 1)
        if metric not in ("cosine", "dot"):
            raise ValueError(f"metric must be 'cosine' or 'dot', got {metric!r}.")
        with torch.inference_mode():
            table = getattr(self.module_, f"{side}_factors").weight.cpu()[1:]
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

    def _check_recommends(self) -> None:
        check_is_fitted(self)

    def _candidates(self, candidates: Any, users: Any) -> tuple[np.ndarray, csr_array | None]:
        """Give the codes of all candidates, and a mask if they differ by user."""
        vocabulary = self.encoder_.vocabularies_[1]
        if candidates is None:
            return np.arange(1, len(vocabulary) + 1), None
        if not isinstance(candidates, Mapping):
            return np.unique(self._known_items(read_ids(candidates, "candidates"))), None
        missing = [user for user in users.tolist() if user not in candidates]
        if missing:
            raise ValueError(
                f"candidates must have a list of items for each user, got none for {missing[0]!r}."
            )
        lists = [read_ids(candidates[user], f"candidates[{user!r}]") for user in users.tolist()]
        flat = pd.concat([pd.Series(items) for items in lists], ignore_index=True)
        flat_codes = self._known_items(read_ids(flat, "candidates"))
        codes, columns = np.unique(flat_codes, return_inverse=True)
        rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
        is_allowed = np.ones(len(rows), dtype=bool)
        # (n_users, n_codes)
        return codes, csr_array((is_allowed, (rows, columns)), (len(lists), len(codes)))

    def _known_items(self, items: Any) -> np.ndarray:
        codes = self.encoder_.vocabularies_[1].codes(items)
        if not codes.all():
            unknown = items[codes == 0][:1].tolist()[0]
            raise ValueError(
                f"candidates must be items that fit saw, and it did not see {unknown!r}. Pass "
                "IDs that are among encoder_.categories_[1]."
            )
        return codes

    @torch.no_grad()
    def _scores(self, users: np.ndarray, items: np.ndarray) -> Tensor:
        """Compute the ratings of all pairs of codes, without mean and scale, on the CPU."""
        device = self.module_.global_mean.device
        codes = [torch.from_numpy(codes).to(device) for codes in (users, items)]
        sides = self._sides_of_pairs(users, items)
        sides = {name: _to_device(side, device) for name, side in sides.items()}
        return self.module_._pair_scores(*codes, **sides).cpu()  # (n_users, n_items)

    def _sides_of_pairs(self, users: np.ndarray, items: np.ndarray) -> dict[str, Any]:
        """Make further arguments of the module for all pairs, as arrays or dicts of arrays."""
        return {}


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


def _to_device(side: Any, device: torch.device) -> Any:
    if isinstance(side, dict):
        return {name: torch.from_numpy(values).to(device) for name, values in side.items()}
    return torch.from_numpy(side).to(device)


def read_ids(values: Any, name: str) -> Any:
    """Read a list of IDs as a one-dimensional array; messages call it `name`."""
    if not is_list_like(values, allow_sets=False) or getattr(values, "ndim", 1) != 1:
        raise ValueError(f"{name} must be a list of IDs, got {values!r}. Pass [{values!r}].")
    if len(values) == 0:
        raise ValueError(f"{name} must hold at least one ID, got none.")
    try:
        ids = pd.Index(values, tupleize_cols=False)
    except UnicodeEncodeError:  # pandas' strings cannot hold half of a surrogate pair
        ids = pd.Index(values, dtype=object, tupleize_cols=False)
    return ids.to_numpy() if isinstance(ids.dtype, np.dtype) else ids.array


def check_positive(value: Any, name: str) -> int:
    """Return a value as an int, or raise if it is not an integer of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
    return int(value)
