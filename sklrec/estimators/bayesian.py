"""Bayesian matrix factorisation as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from sklrec._core.base import BaseRatingRegressor
from sklrec._core.explain import explained
from sklrec._core.fit import auto_n_factors, check_unchanged
from sklrec._core.gaussian_rows import folded_in, parts_of_ratings, recommended_for
from sklrec._core.predict import by_blocks, fitted_copy, on_module, predicted_with_std
from sklrec._core.readers import BlockReader, n_ids
from sklrec._core.recommend import recommended
from sklrec._data.checks import check_number
from sklrec._data.features.side_features import SIDES, SideBlock
from sklrec._data.user_ratings import UserRatings
from sklrec._solvers.variational import VariationalSolver
from sklrec._utils.conditional import missing_if
from sklrec._utils.runtime import own_settings
from sklrec._utils.state.kinds import Array, Maybe, Only, Part, Record
from sklrec._utils.state.modules import Module
from sklrec._utils.types import (
    Auto,
    Categories,
    Column,
    Device,
    IDList,
    RandomState,
    RatingScale,
    Whole,
)
from sklrec._utils.versions import Interval, StrOptions
from sklrec.modules import GaussianMatrixFactorization

# A row's joint covariance matrix has about half the square of the number of factors as numbers.
MAX_FACTORS = 32


def _has_no_stars(estimator):
    if estimator.loss == "ordinal":
        return None
    return (
        f"loss={estimator.loss!r} gives no probabilities of ratings. Fit with loss='ordinal', or "
        "call predict with return_std=True."
    )


def _block(side):
    """Kind of the side features of users, items or contexts."""
    return Part(SideBlock, lambda block: {f"n_{side}_values": tuple(block.sizes)})


class BayesianMFRegressor(BaseRatingRegressor):
    r"""Bayesian matrix factorisation for rating prediction.

    A rating is predicted as

    .. math:: \hat r_{uic} = \mu + b_u + b_i + b_c + \langle p_u, q_i \rangle

    with the global mean :math:`\mu`, the biases :math:`b` and the factors :math:`p, q` of the
    user and the item. The model learns a Gaussian distribution of the bias and the factors of each
    user and each item. ``predict(X, return_std=True)`` therefore gives standard deviations too.
    The penalties need no tuning, because they are part of the model. The solver is variational
    Bayes, which is fast and deterministic.

    With `side_features`, a user's bias and factors are the sum of two parts: one that belongs to
    the user alone, and one from the values of the user's side features. The same holds for items.
    Side features that vary from rating to rating, such as the day, form the context :math:`c`,
    which has a bias. With `svdpp` the rated items add to a user's bias and factors, and the raters
    to an item's.

    Parameters
    ----------
    n_factors : int or 'auto', default='auto'
        Number of factors of each user, each item and each value of their side features. It is at
        most 32, because each user and item has a joint covariance matrix of
        ``2 * (n_factors + 1) * (n_factors + 2)`` bytes. ``'auto'`` is 16, or 8 if there are fewer
        than 5 ratings for each user and item on average.
    loss : {'squared_error', 'ordinal'}, default='squared_error'
        Distribution of a rating around the model's value. ``'squared_error'`` is Gaussian noise.
        ``'ordinal'`` is an ordered probit model for few distinct ratings, such as stars. It has
        thresholds between them. `predict_rating_proba` gives the probability of each rating, and
        `predict` the mean of these ratings.
    svdpp : bool, default=False
        Whether to add SVD++ terms: each user is also described by the items that they rated, and
        each item by the users who rated it, whatever the ratings were. This is more accurate and
        slower.
    n_iter : int, default=20
        Highest number of sweeps, without the last one of ``loss='ordinal'``. A sweep updates each
        parameter once.
    tol : float, default=1e-3
        The sweeps stop if the noise variance and the prior change by less than this share. 0 runs
        all sweeps.
    side_features : None, 'all' or array-like of int or str, default=None
        Columns of X to read besides users and items. ``None`` reads no further column, and
        ``'all'`` reads all of them. A list selects columns by position or by name.
    categorical_features : 'from_dtype' or array-like, default='from_dtype'
        Columns of numbers to treat as categories: positions, names, or a mask with one boolean
        for each column of X. Strings, booleans, other objects and the dtype category are always
        categories. A column of lists, tuples or sets, such as ``X["genres"].str.split("|")``,
        holds several categories in a row.
    rating_scale : (float, float), 'auto' or None, default='auto'
        Lowest and highest rating, to which predictions are clipped. ``'auto'`` takes them from
        the ratings; ``None`` does not clip.
    user : int or str, default='auto'
        Position or name of the column of user IDs. ``'auto'`` takes the columns named ``user``
        and ``item`` if X has both, and the first two columns if it has neither. If it has one of
        them, name the other column.
    item : int or str, default='auto'
        Position or name of the column of item IDs.
    warm_start : bool, default=False
        Whether `fit` starts from the posterior of the last fit instead of a random start. New
        users and items start from the prior. Pass all ratings, old and new: a user or item without
        ratings returns to the prior.
    device : str or torch.device, default='cpu'
        Device of training and prediction, such as ``'cpu'`` or ``'cuda'``.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start of the factors. The global random states of torch, numpy and
        Python stay as they are, except that ``None`` takes the seed from numpy's, as in
        scikit-learn.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    module_ : GaussianMatrixFactorization
        The fitted ``nn.Module``: means and covariances.
    encoder_ : IDEncoder
        Maps IDs to codes. The ID in place k of ``categories_`` has the code k + 1.
    side_blocks_ : dict of str to SideBlock
        Columns of side features of the ``'user'``, of the ``'item'`` and of the ``'context'``
        (the rating itself). ``names`` lists them. Empty if ``side_features=None``.
    stars_ : ndarray of shape (n_stars,)
        The distinct ratings, in increasing order. Only with ``loss='ordinal'``.
    global_mean_ : float
        The weighted mean of the training ratings.
    rating_scale_ : tuple of (float, float) or None
        Lowest and highest rating.
    rating_statistics_ : tuple of (float, float, float)
        Sum of the weights of all training ratings so far, and their weighted mean and variance.
    n_users_ : int
        Number of known users.
    n_items_ : int
        Number of known items.
    n_ratings_ : int
        Number of pairs of a user and an item that were seen together.
    n_iter_ : int
        Number of sweeps that were run.
    loss_curve_ : list of float
        Mean squared error on the training ratings after each sweep, as its expectation under the
        posterior; with ``loss='ordinal'`` the last one is that of the mean star.
    validation_curve_ : list of float
        Mean squared error on the validation data after each sweep, before clipping. Only with
        validation data.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Pairs of a user code and an item code that `fit` has seen.
    user_ratings_ : UserRatings
        The ratings of each user, which `explain` reads: 8 bytes for each rating, or 12 to 20 bytes
        with weights or with ratings that float32 cannot represent. Only with
        ``loss='squared_error'`` and without side features of ratings.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if all are strings.

    See Also
    --------
    MFRegressor : The same model of users and items, trained by gradients. It has `partial_fit`.
    DenseRecRegressor : A net over users, items and side features, trained by gradients.
    sklrec.modules.GaussianMatrixFactorization : The module of this estimator.

    Notes
    -----
    **Variational Bayes.** The rows of users, and those of items, have a Gaussian prior. Its mean
    and its full covariance are learned. The noise variance is a common factor divided by a share
    of each user, which has a Gamma prior with mean 1 and 50 degrees of freedom. A sweep computes
    the distribution of all items, of all users, the priors and the noise in turns. Leave-one-out
    errors of two biases give the start and the ratio of the variances of biases and noise. A
    fit of few users and items is computed in float64, otherwise in float32. The order of the
    rows does not matter, and random numbers serve only as the start of the factors.

    **Ordinal ratings.** ``loss="ordinal"`` fits the stars as numbers first. Then it learns the
    thresholds of greatest likelihood, replaces each star by a Gaussian value that has the same
    effect on the model, and makes one more sweep.

    **Few ratings.** The prior mean of a row is quadratic in the logarithm of its number of
    ratings. Items that few people rate are rated lower, and users with few ratings differ from
    others. Unknown users and items have the mean of all rows as their mean, and the terms of
    their side features.

    **Weights.** A row of weight 2 equals two rows. The size of the weights therefore matters. If
    all weights are far below 1, the prior outweighs the ratings. Scale the weights to a mean of 1
    in that case. SVD++ terms count each pair of a user and an item once, whatever its weight.

    **Sides.** A side feature that has one value in all rows of each user belongs to the user.
    Otherwise, one that has one value in all rows of each item belongs to the item. All others
    belong to the rating (``'context'``) and have only a bias. For the effect of a context on some
    items or users, add a column that joins both. `predict` reads all features from its own rows,
    so that they describe unknown users and items too. `recommend` and `explain` use the features
    that `fit` saw, unless a table of `candidates` describes the items, and treat the context as
    missing. `similar_items` and `similar_users` compare the sums
    of all parts.

    **Missing values** (NaN, None, NaT, an empty list) are a category of their own. A column that
    is missing in some rows of a user but not in all therefore belongs to the rating. Fill the
    gaps first to avoid that. A value that `fit` did not see counts as missing, and so does any
    value of a column that was empty in `fit`. Datetimes and time differences are numbers.

    If a user's ratings change from session to session, a column such as
    ``X["user"].astype(str) + X["day"].astype(str)`` often helps. Its biases are solved jointly
    with the rows of the users.

    **Validation data** measure `validation_curve_`. They do not stop the training.

    Ctrl-C during the training ends `fit` with a KeyboardInterrupt. The estimator then holds the
    model of the sweeps so far, and a warning says so. There is no `partial_fit`. `recommend_for`
    solves new users for one list, `fold_in` adds new users or new items, and ``warm_start=True``
    continues with new ratings.

    References
    ----------
    Lim, Teh (2007), "Variational Bayesian Approach to Movie Rating Prediction", KDD Cup and
    Workshop.

    Koren (2008), "Factorization Meets the Neighborhood", :doi:`10.1145/1401890.1401944`.

    Rendle (2010), "Factorization Machines", :doi:`10.1109/ICDM.2010.127`.

    Rendle, Zhang, Koren (2019), "On the Difficulty of Evaluating Baselines",
    :doi:`10.48550/arXiv.1905.01395`.

    Examples
    --------
    >>> from sklrec import BayesianMFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> X["genres"] = [["drama", "war"] if item % 3 else ["comedy"] for item in X["item"]]
    >>> X["weekend"] = X.pop("timestamp") // 86400 % 7 > 4
    >>> mf = BayesianMFRegressor(random_state=0).fit(X, y)
    >>> ratings, std = mf.predict(X[:3], return_std=True)

    A new user, from two ratings:

    >>> new = X[:2].assign(user=1000)
    >>> bool(mf.fold_in(new, [5, 4]).predict(new[:1])[0] > mf.predict(new[:1])[0])
    True

    With side features, and with ratings as classes:

    >>> fm = BayesianMFRegressor(
    ...     loss="ordinal", side_features="all", random_state=0
    ... ).fit(X, y.round())
    >>> fm.predict_rating_proba(X[:3]).shape
    (3, 5)
    >>> fm.side_blocks_["item"].names, fm.side_blocks_["context"].names
    (['genres'], ['weekend'])
    """

    _reader = BlockReader()
    _needs_float64 = True
    # Beside smaller weights the prior alone counts, and beside larger ones it is lost by rounding.
    _sum_of_weights = (1e-3, 1e12)

    _state = {
        **BaseRatingRegressor._state,
        "stars_": Only(Array("float64", (None,)), "loss", "ordinal"),
        "side_blocks_": Record({name: _block(name) for name in SIDES}),
        "user_ratings_": Maybe(Part(UserRatings)),
        "module_": Module(GaussianMatrixFactorization),
    }

    _parameter_constraints = {
        **BaseRatingRegressor._parameter_constraints,
        "n_factors": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "loss": [StrOptions({"squared_error", "ordinal"})],
        "svdpp": ["boolean"],
        "n_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
        "side_features": [StrOptions({"all"}), "array-like", None],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        n_factors: Whole | Auto = "auto",
        *,
        loss: Literal["squared_error", "ordinal"] = "squared_error",
        svdpp: bool = False,
        n_iter: Whole = 20,
        tol: float = 1e-3,
        side_features: Literal["all"] | ArrayLike | None = None,
        categorical_features: Categories = "from_dtype",
        rating_scale: RatingScale | Auto | None = "auto",
        user: Column = "auto",
        item: Column = "auto",
        warm_start: bool = False,
        device: Device = "cpu",
        random_state: RandomState = None,
        verbose: Whole = 0,
    ):
        self.n_factors = n_factors
        self.loss = loss
        self.svdpp = svdpp
        self.n_iter = n_iter
        self.tol = tol
        self.side_features = side_features
        self.categorical_features = categorical_features
        self.rating_scale = rating_scale
        self.user = user
        self.item = item
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @overload
    def predict(self, X: Any, *, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, *, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def predict(self, X: Any, *, return_std: bool) -> Any: ...

    def predict(self, X: Any, *, return_std: bool = False) -> Any:
        """Predict the ratings of interactions.

        An unknown user or item is predicted from the mean of all others and from its side
        features.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as in `fit`.
        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        ratings : ndarray of shape (n_samples,)
            The ratings as float64, inside the rating scale. Each depends on its own row only.
        std : ndarray of shape (n_samples,)
            The standard deviation of a rating around its prediction, before clipping: the
            posterior's plus the noise. Only if ``return_std=True``.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than the IDs that `fit` saw.
        """
        return predicted_with_std(self, X, return_std)

    def recommend(
        self,
        users: IDList | None = None,
        n_items: Whole = 10,
        *,
        exclude_seen: bool = True,
        candidates: IDList | Mapping[Any, IDList] | None = None,
        exclude: IDList | Mapping[Any, IDList] | None = None,
        n_std: float = 0.0,
    ) -> pd.DataFrame:
        """Recommend the items with the highest predicted ratings, or the safest ones.

        Parameters
        ----------
        users : array-like of shape (n_users,), default=None
            User IDs. An unknown user gets the items that are rated highest regardless of the
            user. ``None`` means all known users, or the users of `candidates` if these differ by
            user.
        n_items : int, default=10
            Number of items for each user, or fewer if not enough items are left.
        exclude_seen : bool, default=True
            Whether to leave out the items that the user had in `fit`.
        candidates : array-like, dict or DataFrame, default=None
            The items to choose from, as in `MFRegressor.recommend`. A table of items without a
            column of users describes items, which may be unknown, by all side features of items.
        exclude : array-like, dict or DataFrame, default=None
            Items never to recommend, as in `MFRegressor.recommend`.
        n_std : float, default=0.0
            Number of standard deviations that are subtracted from the predicted rating. With a
            positive number, items that the model is uncertain about, such as items with few
            ratings, come later in the lists. A negative number prefers them.

        Returns
        -------
        DataFrame of shape (n_recommendations, 4)
            As in `MFRegressor.recommend`. The score is the predicted rating less `n_std` standard
            deviations, clipped to the rating scale.

        Raises
        ------
        ValueError
            As in `MFRegressor.recommend`, or if `n_std` is not a finite number.

        Warns
        -----
        UserWarning
            As in `MFRegressor.recommend`.

        Notes
        -----
        The standard deviation is that of the posterior, without the noise of single ratings: it
        approaches 0 with many ratings. `predict` returns one with the noise, which ranked worse on
        validation parts of two MovieLens logs. With ``loss='ordinal'`` the deviations are
        subtracted from the latent value, and the score is the mean star.
        """
        model, n_std = fitted_copy(self), check_number(n_std, "n_std")
        chosen = candidates, exclude
        return recommended(model, users, n_items, exclude_seen, *chosen, n_std=n_std)

    @missing_if(_has_no_stars)
    def predict_rating_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each rating.

        Only with ``loss="ordinal"``.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_stars)
            The probabilities of ``stars_``. Each row sums to 1. `predict` gives their mean.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than the IDs that `fit` saw.
        """
        model = fitted_copy(self)
        if model.module_.stars is None:
            raise ValueError(
                "The model was fitted with another loss and has no probabilities of ratings. Fit "
                "it again with loss='ordinal'."
            )
        chances = on_module(
            model, lambda **inputs: model.module_.star_probabilities(**inputs).cpu().numpy()
        )
        return by_blocks(model, X, chances)

    @own_settings()
    def explain(self, users: IDList, items: IDList) -> pd.DataFrame:
        """Explain predicted ratings by the ratings of the user.

        Parameters
        ----------
        users : array-like of shape (n_pairs,)
            User IDs.
        items : array-like of shape (n_pairs,)
            Item IDs. The rating of ``items[k]`` by ``users[k]`` is explained.

        Returns
        -------
        DataFrame of shape (n_contributions, 6)
            The user and the item of a pair, an item that the user rated in `fit` (``from_item``),
            the kind of the contribution (``kind``), the rating of that item (``rating``), and the
            contribution in units of the ratings (``contribution``). The first columns have the
            names of the fitted columns, such as ``sku`` and ``from_sku``. The pairs have the order
            of `users`. Each pair has rows of four kinds. ``'mean'`` is the global mean, and
            ``'item'`` is the bias of the item. ``'user'`` is what the model expects of the user
            whatever the ratings were, from their number and from side features.
            ``'interaction'`` is one rating of the user, with the strongest first. The
            contributions of a pair add up to the prediction before clipping.

        Raises
        ------
        ValueError
            If the model was fitted with ``loss='ordinal'`` or with side features of ratings, or
            if `users` and `items` have different lengths.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than the IDs that `fit` saw.

        Notes
        -----
        The user's bias and factors are the solution of linear equations in the user's ratings, so
        that the prediction is a sum over these ratings. A rating contributes by how far it is from
        the mean and the bias of its item, and by how similar its item is. With `svdpp` the fact
        that the item was rated contributes too. The items' biases and factors are taken as given,
        although the ratings of the user had a small part in them. `fit` stops before its equations
        hold exactly. The difference is in the row ``'user'``: 0.001 stars on average, and at most
        0.014, on MovieLens 100K.
        """
        return explained(fitted_copy(self), users, items, parts_of_ratings)

    @own_settings()
    def recommend_for(
        self,
        X: Any,
        y: Any,
        n_items: Whole = 10,
        *,
        sample_weight: Any = None,
        exclude_seen: bool = True,
        candidates: IDList | Mapping[Any, IDList] | None = None,
        exclude: IDList | Mapping[Any, IDList] | None = None,
        n_std: float = 0.0,
    ) -> pd.DataFrame:
        """Recommend items to new or returning users from their ratings.

        One exact solve, that of `fold_in`, computes the distribution of each user. The estimator
        stays as it is and is not copied. Several threads may call this method at once.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            All interactions of the users, columns as in `fit`. Only these count, also for users
            that `fit` saw. Unknown items count as average items.
        y : array-like of shape (n_samples,)
            The ratings.
        n_items : int, default=10
            Number of items for each user, or fewer if not enough items are left.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative. A row of weight 2 equals two rows.
        exclude_seen : bool, default=True
            Whether to leave out the items of the user in X, and those that the user had in `fit`.
        candidates : array-like, dict or DataFrame, default=None
            The items to choose from, as in `recommend`.
        exclude : array-like, dict or DataFrame, default=None
            Items never to recommend, as in `recommend`.
        n_std : float, default=0.0
            Number of standard deviations that are subtracted from the predicted rating, as in
            `recommend`.

        Returns
        -------
        DataFrame of shape (n_recommendations, 4)
            As in `recommend`. The users have the order of their first rows in X.

        Raises
        ------
        ValueError
            If X, y or another argument is not valid, or if the model was fitted with
            ``loss='ordinal'``.

        Warns
        -----
        UserWarning
            If items are unknown because their IDs are of another kind than the IDs that `fit` saw.

        Notes
        -----
        The noise of the ratings of a user is learned in `fit`. Here all users have the mean noise,
        as in `fold_in`.
        """
        rated, chosen = (X, y, sample_weight), (n_items, exclude_seen, candidates, exclude)
        return recommended_for(fitted_copy(self), rated, chosen, check_number(n_std, "n_std"))

    @own_settings()
    def fold_in(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Add users or items that `fit` did not see, without a new fit.

        One exact solve computes the distribution of each new row from its ratings. All other rows
        stay as they are, and so does this estimator.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            Interactions, columns as in `fit`, of new users with known items or of known users
            with new items.
        y : array-like of shape (n_samples,)
            The ratings.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative. A row of weight 2 equals two rows.

        Returns
        -------
        BayesianMFRegressor
            A fitted copy that knows the new users and items.

        Raises
        ------
        ValueError
            If X or y is not valid, if a row has neither a new user nor a new item, or both, or if
            the model was fitted with ``loss='ordinal'``.
        """
        return folded_in(fitted_copy(self), X, y, sample_weight)

    def _why_no_partial_fit(self):
        return (
            "BayesianMFRegressor has no partial_fit: a sweep goes through all ratings. Call "
            "fold_in with the ratings of new users or items, fit with warm_start=True, or use "
            "MFRegressor, which has partial_fit."
        )

    def _new_module(self, rows):
        n_factors = int(
            auto_n_factors(self, self.n_ratings_) if self.n_factors == "auto" else self.n_factors
        )
        if n_factors > MAX_FACTORS:
            n_bytes = 2 * (n_factors + 1) * (n_factors + 2) * sum(n_ids(self))
            raise ValueError(
                f"n_factors={n_factors} needs a joint covariance matrix of {n_factors + 1} x "
                f"{n_factors + 1} for each user and item, {n_bytes / 1e9:.2g} GB in all. Set "
                f"n_factors to at most {MAX_FACTORS}, or use MFRegressor."
            )
        return _module(self, n_factors, rows.statistics.mean, rows.statistics.scale, rows.start)

    def _continued_module(self, previous, rows):
        before = previous.module_
        check_unchanged(before, svdpp=bool(self.svdpp))
        if self.n_factors != "auto":
            check_unchanged(before, n_factors=int(self.n_factors))
        # The columns of side features may have new values, so that their terms start anew. The
        # first sweep solves them from the rows of the other side.
        before = deepcopy(before).grow(*n_ids(self))
        mean, scale = before.global_mean.item(), before.scale.item()
        return _module(self, before.n_factors, mean, scale, rows.start).continue_from(before)

    def _new_solver(self, plan):
        return VariationalSolver(int(self.n_iter), float(self.tol), int(self.verbose))


def _module(model, n_factors, mean, scale, start):
    """Make a module with the side features of all users and items."""
    module = GaussianMatrixFactorization(
        *n_ids(model),
        n_factors,
        svdpp=bool(model.svdpp),
        **{f"n_{name}_values": block.sizes for name, block in model.side_blocks_.items()},
        stars=torch.from_numpy(model.stars_) if model.loss == "ordinal" else None,
        global_mean=mean,
        scale=scale,
    )
    for side, arrays in start.items():
        module.set_features(side, *arrays)
    return module
