"""Recommendations from a fitted rating model."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_list_like
from scipy.sparse import csr_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklrec.preprocessing import IDEncoder

# Scores that are held at once: 64 MiB of float32.
SCORES_AT_ONCE = 2**24


class RecommenderMixin:
    """Mixin for estimators whose `module_` holds user and item factors.

    A user's scores are what `predict` gives for each item, before clipping.
    """

    encoder_: IDEncoder
    module_: Any
    rating_scale_: tuple[float, float] | None
    seen_: csr_array

    def recommend(self, users, n_items=10, *, exclude_seen=True, candidates=None):
        """Recommend the items with the highest predicted ratings.

        Parameters
        ----------
        users : array-like of shape (n_users,)
            User IDs. A user whom `fit` did not see gets the items that are rated highest
            regardless of the user.
        n_items : int, default=10
            How many items to recommend to each user; fewer where there are fewer.
        exclude_seen : bool, default=True
            Whether to leave out what the user rated in `fit` and `partial_fit`.
        candidates : array-like of shape (n_candidates,), default=None
            IDs of the items to choose from; ``None`` is all that `fit` saw.

        Returns
        -------
        DataFrame of shape (n_recommendations, 4)
            Columns user, item, rank (from 1) and score (the rating that `predict` gives, to
            float32's precision), users in the order in which they were given.

        Warns
        -----
        UserWarning
            If users are unknown because their IDs are of another kind than those that `fit`
            saw.
        """
        self._check_recommends()
        user_vocabulary, item_vocabulary = self.encoder_.vocabularies_
        users = _ids(users, "users")
        user_codes = user_vocabulary.codes(users)
        n_unknown = int(np.count_nonzero(user_codes == 0))
        if message := user_vocabulary.kind_mismatch(users, n_unknown):
            warnings.warn(message, UserWarning, stacklevel=2)
        item_codes = self._candidate_codes(candidates)
        n_items = min(_positive(n_items, "n_items"), len(item_codes))
        block = max(1, SCORES_AT_ONCE // len(item_codes))
        found = []
        for first in range(0, len(user_codes), block):
            codes = user_codes[first : first + block]
            scores = self._scores(codes, item_codes)
            if exclude_seen:
                # a row of seen_ for each user, its columns in the order of the candidates
                row, column = self.seen_[codes][:, item_codes].nonzero()
                scores[torch.from_numpy(row), torch.from_numpy(column)] = -torch.inf
            top = scores.topk(n_items)
            row, rank = np.nonzero(top.values.numpy() > -np.inf)
            chosen = top.indices.numpy()[row, rank]
            score = top.values.numpy()[row, rank]
            found.append((first + row, item_codes[chosen], rank + 1, score))
        rows, items, rank, score = (np.concatenate(part) for part in zip(*found, strict=True))
        if self.rating_scale_ is not None:
            score = score.clip(*self.rating_scale_)
        return pd.DataFrame(
            {
                "user": users[rows],
                "item": item_vocabulary.ids_of(items),
                "rank": rank,
                "score": score.astype(np.float64),
            }
        )

    def similar_items(self, items, n_items=10):
        """Find the items whose factors point in the most similar direction.

        Parameters
        ----------
        items : array-like of shape (n,)
            Item IDs that `fit` saw.
        n_items : int, default=10
            How many similar items to give for each; fewer where there are fewer.

        Returns
        -------
        DataFrame of shape (n_similar, 4)
            Columns item, similar_item, rank (from 1) and score (the cosine of the two
            items' factors, from -1 to 1).

        Raises
        ------
        ValueError
            If `fit` did not see an item.
        """
        self._check_recommends()
        vocabulary = self.encoder_.vocabularies_[1]
        items = _ids(items, "items")
        codes = vocabulary.codes(items)
        if not codes.all():
            unknown = items[codes == 0][:1].tolist()[0]
            raise ValueError(
                f"similar_items compares items that fit saw, and it did not see {unknown!r}. "
                "Pass IDs that are among encoder_.categories_[1]."
            )
        n_items = min(_positive(n_items, "n_items"), len(vocabulary) - 1)
        with torch.inference_mode():
            table = self.module_.item_factors.weight.cpu()[1:]
            directions = torch.nn.functional.normalize(table)
            found = []
            for rows in torch.from_numpy(codes - 1).split(max(1, SCORES_AT_ONCE // len(table))):
                cosines = directions[rows] @ directions.T
                cosines[torch.arange(len(rows)), rows] = -torch.inf
                found.append(cosines.topk(n_items))
            cosines, similar = (torch.cat(part).ravel() for part in zip(*found, strict=True))
        return pd.DataFrame(
            {
                "item": items.repeat(n_items),
                "similar_item": vocabulary.ids_of(similar.numpy() + 1),
                "rank": np.tile(np.arange(1, n_items + 1), len(items)),
                "score": cosines.clamp(-1, 1).numpy().astype(np.float64),
            }
        )

    def _check_recommends(self) -> None:
        check_is_fitted(self)

    def _candidate_codes(self, candidates: Any) -> np.ndarray:
        vocabulary = self.encoder_.vocabularies_[1]
        if candidates is None:
            return np.arange(1, len(vocabulary) + 1)
        candidates = _ids(candidates, "candidates")
        codes = np.unique(vocabulary.codes(candidates))
        if codes[0] == 0:
            unknown = candidates[vocabulary.codes(candidates) == 0][:1].tolist()[0]
            raise ValueError(
                f"candidates must be items that fit saw, and it did not see {unknown!r}. Pass "
                "IDs that are among encoder_.categories_[1]."
            )
        return codes

    @torch.no_grad()
    def _scores(self, users: np.ndarray, items: np.ndarray) -> Tensor:
        """Ratings of all pairs of codes, of shape (n_users, n_items), on the CPU."""
        device = self.module_.global_mean.device
        codes = [torch.from_numpy(codes).to(device) for codes in (users, items)]
        return self.module_.all_pairs(*codes).cpu()


def _ids(values: Any, name: str) -> Any:
    """IDs as a one-dimensional array."""
    if not is_list_like(values, allow_sets=False) or getattr(values, "ndim", 1) != 1:
        raise ValueError(f"{name} must be a list of IDs, got {values!r}. Pass [{values!r}].")
    if len(values) == 0:
        raise ValueError(f"{name} must hold at least one ID, got none.")
    ids = pd.Index(values, tupleize_cols=False)
    return ids.to_numpy() if isinstance(ids.dtype, np.dtype) else ids.array


def _positive(value: Any, name: str) -> int:
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
    return int(value)
