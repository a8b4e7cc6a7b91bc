"""Approximate index of items, for recommendations from large catalogues."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from sklrec._core.choices import Items, choose_items, read_ids, users_of
from sklrec._core.predict import clipped
from sklrec._core.recommend import table_of_lists
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
        self,
        users: IDList | None = None,
        n_items: Whole = 10,
        *,
        exclude_seen: bool = True,
        exclude: IDList | Mapping[Any, IDList] | None = None,
    ) -> pd.DataFrame:
        """Recommend items with high predicted ratings, almost always the highest.

        Parameters
        ----------
        users : array-like of shape (n_users,), default=None
            User IDs. An unknown user gets the items with the highest ratings for an average
            user. ``None`` means all known users.
        n_items : int, default=10
            Number of items for each user. The list is shorter if fewer items are left.
        exclude_seen : bool, default=True
            Whether to leave out items that the user rated in `fit` and `partial_fit`.
        exclude : array-like, dict or DataFrame, default=None
            Items never to recommend, as in `MFRegressor.recommend`.

        Returns
        -------
        DataFrame of shape (n_recommendations, 4)
            As in `MFRegressor.recommend`, with users in the order of `users`.
        """
        check_booleans(exclude_seen=exclude_seen)
        n_items = check_positive(n_items, "n_items")
        model = self.estimator
        users = users_of(model, None) if users is None else read_ids(users, "users")
        codes = model.encoder_.vocabularies_[0].codes(users)
        items = choose_items(model, users, None, exclude)
        n_left_out = items.n_excluded(len(users))
        if exclude_seen:
            n_left_out += np.diff(model.seen_.indptr)[codes]
        # A search finds the same number of items for each user of a block. So each block has users
        # with similar numbers of items that are left out.
        order = np.argsort(n_left_out, kind="stable")
        found = [(order[:0], order[:0], np.zeros(0, np.float32))]
        for rows in np.split(order, range(USERS_AT_ONCE, len(order), USERS_AT_ONCE)):
            n_found = n_items + int(n_left_out[rows].max(initial=0))
            left_out = items.left_out(rows, model.seen_[codes[rows]] if exclude_seen else None)
            found.append(self._search(rows, codes[rows], items, left_out, n_found))
        rows, places, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        # By user, then by score; among equal scores, the item with the smaller code is first.
        best = np.lexsort([places, -scores, rows])
        rows, places, scores = rows[best], places[best], scores[best]
        rank = 1 + place_in_run(rows)
        keep = rank <= n_items
        scores = clipped(model, scores[keep].astype(np.float64))
        ids = items.ids_of(places[keep])
        return table_of_lists(model, users[rows[keep]], ids, rank[keep], scores)

    def _search(
        self,
        rows: np.ndarray,
        codes: np.ndarray,
        items: Items,
        left_out: tuple[np.ndarray, np.ndarray],
        n_found: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search items for users; return their rows, the places of items and exact scores."""
        model = self.estimator
        users = _user_vectors(model.module_, codes)
        n_found = min(self._index.ntotal, n_found)
        parameters = _faiss().SearchParametersHNSW(efSearch=max(self._ef_search, n_found))
        nearest = self._index.search(users, n_found, params=parameters)[1]  # (n_users, n_found)
        of_users, column = np.nonzero(nearest >= 0)
        places = items.places_of_codes(nearest[of_users, column] + 1)
        # One number for each pair of a user and an item.
        pairs, wrong = (row * len(items) + place for row, place in ((of_users, places), left_out))
        keep = (places >= 0) & ~np.isin(pairs, wrong)
        of_users, places = of_users[keep], places[keep]
        with torch.inference_mode():
            device = model.module_.global_mean.device
            of_pairs = codes[of_users], items.codes[places]
            scores = model.module_(*(torch.from_numpy(part).to(device) for part in of_pairs))
        return rows[of_users], places, scores.cpu().numpy()


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
