"""Approximate index of items, for recommendations from large catalogues."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import copy
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from sklrec._core.predict import clipped
from sklrec._core.recommend import read_ids, table_of_lists
from sklrec._data.checks import check_booleans, check_positive
from sklrec._utils.extras import import_extra
from sklrec._utils.runs import place_in_run
from sklrec._utils.runtime import own_settings
from sklrec._utils.types import IDList, Whole
from sklrec.modules import MatrixFactorization

__all__ = ["ApproximateItems"]

# Few users at once, so that the users of a block have seen similar numbers of items.
USERS_AT_ONCE = 256


class ApproximateItems:
    """Approximate index of the items of a fitted `MFRegressor`.

    It finds most of the items that `MFRegressor.recommend` finds, and compares only few items.
    The time of a list grows little with the number of items. Scores are exact, but some items
    may be missing. It is faster from about 100,000 items on. The index is a graph of nearest
    neighbours (HNSW) of faiss, which ``pip install sklrec[approximate]`` installs.

    Parameters
    ----------
    estimator : MFRegressor
        The fitted estimator. If it is fitted again, this index still recommends from the model
        that it was made of: make a new one.
    n_links : int, default=32
        Number of neighbours of each item in the graph. A larger number finds more items and uses
        more memory.
    ef_construction : int, default=200
        Number of candidates that are compared when an item is added.
    ef_search : int, default=128
        Least number of candidates in a search. A larger number finds more items and takes longer.

    Attributes
    ----------
    estimator : MFRegressor
        A copy of the estimator.

    Raises
    ------
    ImportError
        If faiss is not installed.
    ValueError
        If the estimator is of another class, or if a parameter is invalid.

    See Also
    --------
    sklrec.MFRegressor.recommend : The exact lists.

    References
    ----------
    Malkov, Yashunin (2020), "Efficient and Robust Approximate Nearest Neighbor Search Using
    Hierarchical Navigable Small World Graphs", :doi:`10.1109/TPAMI.2018.2889473`.

    Bachrach et al. (2014), "Speeding Up the Xbox Recommender System Using a Euclidean
    Transformation for Inner-Product Spaces", :doi:`10.1145/2645710.2645741`.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.approximate import ApproximateItems
    >>> from sklrec.datasets import make_ratings
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> mf = MFRegressor(n_factors=8, random_state=0).fit(X, y)
    >>> ApproximateItems(mf).recommend([7], n_items=3).columns.to_list()
    ['user', 'item', 'rank', 'score']
    """

    @own_settings()
    def __init__(
        self,
        estimator: Any,
        *,
        n_links: int = 32,
        ef_construction: int = 200,
        ef_search: int = 128,
    ):
        check_is_fitted(estimator)
        if type(getattr(estimator, "module_", None)) is not MatrixFactorization:  # no subclass
            raise ValueError(
                f"ApproximateItems needs a fitted MFRegressor, got {estimator!r}. Use the method "
                "recommend of other estimators."
            )
        sizes = {"n_links": n_links, "ef_construction": ef_construction, "ef_search": ef_search}
        for name, value in sizes.items():
            check_positive(value, name)
        self.estimator = copy(estimator)  # a later fit must not change what the index is of
        self._ef_search = int(ef_search)
        items = _item_vectors(estimator.module_)  # (n_items, n_factors + biased)
        norms = np.linalg.norm(items, axis=1)
        # With one more coordinate all vectors have the same norm, so the item with the largest
        # product is the nearest one (Bachrach et al.).
        rest = np.sqrt(np.maximum(0, norms.max() ** 2 - norms**2))
        longest = max(float(norms.max()), 1e-12)
        items = np.hstack([items, rest[:, np.newaxis]]) / longest
        faiss = _faiss()
        self._index = faiss.IndexHNSWFlat(items.shape[1], int(n_links), faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = int(ef_construction)
        self._index.add(np.ascontiguousarray(items, dtype=np.float32))

    @own_settings()
    def recommend(
        self, users: IDList, n_items: Whole = 10, *, exclude_seen: bool = True
    ) -> pd.DataFrame:
        """Recommend items with high predicted ratings, almost always the highest.

        Parameters
        ----------
        users : array-like of shape (n_users,)
            User IDs. An unknown user gets the items with the highest ratings for an average
            user.
        n_items : int, default=10
            Number of items for each user. The list is shorter if fewer items are left.
        exclude_seen : bool, default=True
            Whether to leave out items that the user rated in `fit` and `partial_fit`.

        Returns
        -------
        DataFrame of shape (n_recommendations, 4)
            Columns user, item, rank (from 1) and score (the predicted rating), with users in the
            order of `users`.
        """
        check_booleans(exclude_seen=exclude_seen)
        n_items = check_positive(n_items, "n_items")
        model = self.estimator
        users = read_ids(users, "users")
        codes = model.encoder_.vocabularies_[0].codes(users)
        n_seen = np.diff(model.seen_.indptr)[codes] if exclude_seen else np.zeros_like(codes)
        # A search finds the same number of items for each user of a block. So each block has users
        # who have seen similar numbers of items.
        order = np.argsort(n_seen, kind="stable")
        found = []
        for rows in np.split(order, range(USERS_AT_ONCE, len(order), USERS_AT_ONCE)):
            found.append(
                self._search(rows, codes[rows], n_items, int(n_seen[rows].max()), exclude_seen)
            )
        rows, items, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        # By user, then by score; among equal scores, the item with the smaller code is first.
        best = np.lexsort([items, -scores, rows])
        rows, items, scores = rows[best], items[best], scores[best]
        rank = 1 + place_in_run(rows)
        keep = rank <= n_items
        scores = clipped(model, scores[keep].astype(np.float64))
        return table_of_lists(model, users[rows[keep]], items[keep], rank[keep], scores)

    def _search(
        self, rows: np.ndarray, codes: np.ndarray, n_items: int, n_seen: int, exclude_seen: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search items for users; return their rows, item codes and exact scores."""
        model = self.estimator
        users = _user_vectors(model.module_, codes)
        n_found = min(self._index.ntotal, n_items + n_seen)
        parameters = _faiss().SearchParametersHNSW(efSearch=max(self._ef_search, n_found))
        nearest = self._index.search(users, n_found, params=parameters)[1]  # (n_users, n_found)
        place, column = np.nonzero(nearest >= 0)
        items = nearest[place, column] + 1
        if exclude_seen:
            seen = np.asarray(model.seen_[codes[place], items]).ravel()
            place, items = place[~seen], items[~seen]
        with torch.inference_mode():
            device = model.module_.global_mean.device
            pairs = (torch.from_numpy(part).to(device) for part in (codes[place], items))
            scores = model.module_(*pairs).cpu().numpy()
        return rows[place], items, scores


def _item_vectors(module: MatrixFactorization) -> np.ndarray:
    """Factors of all items, with their biases if the module has them."""
    factors = module.item_factors.weight.detach().cpu().numpy()[1:]
    if not module.biased:
        return factors
    biases = module.item_biases.detach().cpu().numpy()[1:]
    return np.hstack([factors, biases[:, np.newaxis]])


def _user_vectors(module: MatrixFactorization, codes: np.ndarray) -> np.ndarray:
    """Factors of users, with 1 for the bias and 0 for the added coordinate of the items."""
    factors = module.user_factors.weight.detach().cpu().numpy()[codes]
    columns = [factors, np.ones((len(codes), 1))] if module.biased else [factors]
    return np.hstack([*columns, np.zeros((len(codes), 1))]).astype(np.float32)


def _faiss() -> Any:
    return import_extra("faiss", "approximate", "ApproximateItems")
