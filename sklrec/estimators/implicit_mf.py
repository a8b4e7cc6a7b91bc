"""Matrix factorisation of events as a recommender."""
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real
from typing import Literal

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklrec._core.event_users import BaseEventUsers
from sklrec._core.rows import device_of
from sklrec._solvers.implicit_als import ImplicitALS
from sklrec._utils.runtime import new_generator
from sklrec._utils.state.kinds import Array, Plain
from sklrec._utils.types import Auto, Column, Device, RandomState, Whole
from sklrec._utils.versions import Interval, StrOptions

# Weight of all unobserved pairs together, in positives. Chosen on validation parts of
# MovieLens 100K, ml-latest-small, goodbooks, lastfm-plays and foodcom.
UNOBSERVED_SHARE = 20.0
# Penalty, chosen on the same rows.
FACTOR_PENALTY = 0.01


class ImplicitMFRecommender(BaseEventUsers):
    r"""Matrix factorisation of events by alternating least squares.

    The score of an item for a user is :math:`s_{ui} = p_u^T q_i`. The factors minimise

    .. math:: \sum_{(u, i) \in S} c_{ui} (1 - s_{ui})^2 + w \sum_{u, i} s_{ui}^2
              + \alpha \sum_u k_u \|p_u\|^2 + \alpha \sum_i k_i \|q_i\|^2

    where S are the positives, with weights :math:`c`. The second sum goes over all pairs of a
    user and an item. The penalty of a user grows with the positives and with the number of pairs,
    :math:`k_u = \sum_i c_{ui} + w n_{items}`, and in the same way for items. Each sweep improves
    all users by two steps of conjugate gradients, and then all items. At the end, the factors of
    the users are exact, given the items.

    Parameters
    ----------
    n_factors : int, default=128
        Number of factors of each user and item.
    alpha : float or 'auto', default='auto'
        The penalty :math:`\alpha`, from 1e-10 to 1e10. ``'auto'`` is 0.01.
    unobserved_weight : float or 'auto', default='auto'
        The weight :math:`w` of each pair of a user and an item, from 1e-10 to 1e10. ``'auto'``
        gives all pairs together 20 times the weight of the positives.
    n_iter : int, default=10
        Number of sweeps.
    threshold : float, default=None
        Rows with y above this value are positives. ``None`` makes every row a positive.
    confidence : {'log'}, default=None
        ``'log'`` gives a positive the weight 1 + log(1 + y), for counts y of at least 0. ``None``
        gives it the weight 1.
    user : int or str, default='auto'
        Position or name of the column of user IDs. ``'auto'`` takes the columns named ``user``
        and ``item`` if X has both, and the first two columns if it has neither. If it has one of
        them, name the other column.
    item : int or str, default='auto'
        Position or name of the column of item IDs.
    device : str or torch.device, default='cpu'
        Device that computes the factors, such as ``'cuda'``. The fitted estimator is on the CPU.
    random_state : int, RandomState instance or None, default=None
        Seed of the factors at the start.

    Attributes
    ----------
    user_factors_ : ndarray of shape (n_users_, n_factors)
        The factors of the known users in float32, in the order of ``encoder_.categories_[0]``.
    item_factors_ : ndarray of shape (n_items_, n_factors)
        The factors of the known items in float32, in the order of ``encoder_.categories_[1]``.
    positives_ : csr_array of shape (n_users + 1, n_items + 1)
        Weight of each positive, by user code and item code.
    alpha_ : float
        The penalty.
    unobserved_weight_ : float
        The weight of each pair.
    item_popularity_ : ndarray of shape (n_items_,)
        Sum of the weights of the positives of each item.
    encoder_ : IDEncoder
        Maps IDs to codes. The ID in place k of ``categories_`` has the code k + 1.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Pairs of a user code and an item code that `fit` has seen, positive or not.
    n_users_ : int
        Number of known users.
    n_items_ : int
        Number of known items.
    n_ratings_ : int
        Number of pairs of a user and an item that were seen together.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if all are strings.

    See Also
    --------
    EASERecommender : In closed form, for smaller catalogues.
    PopularityRecommender : The baseline.
    MFRegressor : Predicts ratings.

    Notes
    -----
    **Positives.** Repeated rows of a pair are one positive, with the largest weight of these
    rows. The weight is that of `confidence` times `sample_weight`. Rows that are no positives,
    because of `threshold`, still make their user and item known, and `recommend` leaves the item
    out of the lists of that user.

    **Unknown users**, and users without a positive, get the list by popularity. Their scores are
    `item_popularity_` divided by the number of users. `recommend_for` computes the factors of
    new users from their events.

    **Defaults.** The weight of unobserved pairs and the penalty were chosen on validation parts
    of five logs, with 2 to 106 events a user on average.

    References
    ----------
    Rendle, Krichene, Zhang, Koren (2022), "Revisiting the Performance of iALS on Item
    Recommendation Benchmarks", :doi:`10.1145/3523227.3548486`.

    Takács, Pilászy, Tikk (2011), "Applications of the Conjugate Gradient Method for Implicit
    Feedback Collaborative Filtering", :doi:`10.1145/2043932.2043987`.

    Hu, Koren, Volinsky (2008), "Collaborative Filtering for Implicit Feedback Datasets",
    :doi:`10.1109/ICDM.2008.22`.

    Examples
    --------
    >>> from sklrec import ImplicitMFRecommender
    >>> X = [["ann", "tea"], ["ann", "milk"], ["bob", "tea"], ["bob", "milk"], ["cat", "rum"]]
    >>> X += [["dan", "tea"], ["eve", "rum"], ["eve", "lime"]]
    >>> model = ImplicitMFRecommender(n_factors=2, random_state=0).fit(X)
    >>> model.recommend(["dan", "cat"], n_items=1)["item"].to_list()
    ['milk', 'lime']
    """

    _state = {
        **BaseEventUsers._state,
        "user_factors_": Array("float32", ("n_users", "n_factors")),
        "item_factors_": Array("float32", ("n_items", "n_factors")),
        "alpha_": Plain(float, low=0),
        "unobserved_weight_": Plain(float, low=0),
    }

    _parameter_constraints = {
        **BaseEventUsers._parameter_constraints,
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "alpha": [StrOptions({"auto"}), Interval(Real, 1e-10, 1e10, closed="both")],
        "unobserved_weight": [StrOptions({"auto"}), Interval(Real, 1e-10, 1e10, closed="both")],
        "n_iter": [Interval(Integral, 1, None, closed="left")],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    _takes_accelerate = False
    _needs_float64 = True  # for the principal axes

    def __init__(
        self,
        n_factors: Whole = 128,
        *,
        alpha: float | Auto = "auto",
        unobserved_weight: float | Auto = "auto",
        n_iter: Whole = 10,
        threshold: float | None = None,
        confidence: Literal["log"] | None = None,
        user: Column = "auto",
        item: Column = "auto",
        device: Device = "cpu",
        random_state: RandomState = None,
    ):
        self.n_factors = n_factors
        self.alpha = alpha
        self.unobserved_weight = unobserved_weight
        self.n_iter = n_iter
        self.threshold = threshold
        self.confidence = confidence
        self.user = user
        self.item = item
        self.device = device
        self.random_state = random_state

    def _learn(self, positives):
        self.positives_ = positives.astype(np.float32)
        self.alpha_ = FACTOR_PENALTY if self.alpha == "auto" else float(self.alpha)
        usual = UNOBSERVED_SHARE * float(positives.sum()) / (self.n_users_ * self.n_items_)
        weight = self.unobserved_weight
        self.unobserved_weight_ = usual if weight == "auto" else float(weight)
        generator = new_generator(check_random_state(self.random_state))
        solver = self._solver(int(self.n_factors))
        tables = solver.train(
            self.positives_[1:, 1:], int(self.n_iter), generator, device_of(self)
        )
        self.user_factors_, self.item_factors_ = (table.cpu().numpy() for table in tables)

    def _solver(self, n_factors):
        return ImplicitALS(n_factors, self.alpha_, self.unobserved_weight_)

    def _rows_of(self, users):
        return torch.from_numpy(self.user_factors_[users - 1])

    def _solved(self, positives):
        items = self._vectors("item")
        return self._solver(items.shape[1]).solve_users(positives[:, 1:], items)

    def _scores_of(self, rows, items):
        q = self._vectors("item")
        if len(items) < len(q):
            q = q[torch.from_numpy(items - 1)]
        return rows @ q.T

    def _contributions(self):
        factors = self._vectors("item")
        solver = self._solver(factors.shape[1])
        of_all = solver.of_all(factors)

        def values_of(positives, items):
            some = torch.from_numpy(items - 1)
            return solver.contributions(positives[:, 1:], factors, of_all, some).numpy()

        return values_of

    def _pair_scores(self, users, items):
        p, q = self.user_factors_[users - 1], self.item_factors_[items - 1]
        return (p.astype(np.float64) * q).sum(axis=1)

    def _vectors(self, side):
        return torch.from_numpy(getattr(self, f"{side}_factors_"))
