"""Bayesian matrix factorisation as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch.nn.functional import pad

from sklrec._core.base import BaseRatingRegressor, mean_and_scale
from sklrec._core.recommend import RecommenderMixin
from sklrec._data.checks import Interval, StrOptions, resolve_columns
from sklrec._data.features.blocks import SIDES, SideBlock, assign_sides
from sklrec._data.features.groups import SideFeatures
from sklrec._solvers.gibbs.sampler import GibbsSampler
from sklrec._solvers.gibbs.tables import INIT_STD
from sklrec.modules import BayesianFactorizationMachine

# Largest number of classes with loss="ordinal". More distinct ratings are probably not stars.
MAX_STARS = 1000


def _is_ordinal(estimator):
    """Whether the model predicts the probability of each rating."""
    if estimator.loss == "ordinal":
        return True
    raise AttributeError(
        f"loss={estimator.loss!r} gives no probabilities of ratings. Fit with loss='ordinal', or "
        "call predict with return_std=True."
    )


def _different_ratings(y):
    """Sorted distinct ratings, if they are few enough to be classes."""
    stars = np.unique(y.astype(np.float32))
    if len(stars) > MAX_STARS:
        raise ValueError(
            f"loss='ordinal' takes ratings as classes, such as the stars 1 to 5, got "
            f"{len(stars)} different ones. Round them, or set loss='squared_error'."
        )
    return stars


class BayesianMFRegressor(RecommenderMixin, BaseRatingRegressor):
    r"""Bayesian matrix factorisation for rating prediction.

    A rating is predicted as

    .. math:: \hat r_{ui} = \mu + b_u + b_i + \langle p_u, q_i \rangle

    with the global mean :math:`\mu`, the biases :math:`b` and the factors :math:`p, q` of the
    user and the item. Gibbs sampling draws them from their posterior distribution, together with
    their prior and the noise. The prediction is the mean over the draws, and
    ``predict(X, return_std=True)`` also gives its standard deviation. The penalties need no
    tuning, because they are part of the model.

    With `side_features` the model is a factorisation machine:

    .. math:: \hat r_{uic} = \mu + b_u + b_i + b_c
              + \langle p_u, q_i \rangle + \langle p_u, t_c \rangle + \langle q_i, t_c \rangle

    A user's factors and bias are then the sum of two parts: one that belongs to the user alone,
    and one from each value of the user's side features. The same holds for items. Side features
    that vary from rating to rating, such as the day, form the context :math:`c`. With `svdpp`
    the rated items add to a user's factors, and the raters to an item's.

    Parameters
    ----------
    n_factors : int, default=10
        Number of factors of each user, each item and each value of a side feature.
    loss : {'squared_error', 'ordinal'}, default='squared_error'
        Distribution of a rating around the model's value. ``'squared_error'`` is Gaussian noise.
        ``'ordinal'`` is an ordered probit model for few distinct ratings, such as stars: it has
        thresholds between them, `predict_rating_proba` gives the probability of each, and
        `predict` their mean.
    svdpp : bool, default=False
        Whether to add SVD++ terms: each user is also described by the items that they rated, and
        each item by the users who rated it, whatever the ratings were. This is more accurate and
        slower.
    n_iter : int, default=210
        Number of sweeps. A sweep draws each parameter once.
    n_burn_in : int, default=10
        Number of first sweeps that are dropped.
    n_draws : int, default=100
        Largest number of the other sweeps to keep, evenly spaced. The time of a prediction and
        the size of the model grow with it: each user, item and value of a side feature takes
        ``4 * n_draws * (n_factors + 1)`` bytes.
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
    user : int or str, default=0
        Position, or name in a DataFrame, of the column of user IDs.
    item : int or str, default=1
        Position, or name in a DataFrame, of the column of item IDs.
    device : str or torch.device, default='cpu'
        Device of training and prediction, such as ``'cpu'`` or ``'cuda'``.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start and of all draws. The global
        random states of torch, numpy and Python stay as they are, except that ``None`` takes the
        seed from numpy's, as in scikit-learn.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    module_ : BayesianFactorizationMachine
        The fitted ``nn.Module`` with all draws.
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
    n_users_ : int
        Number of known users.
    n_items_ : int
        Number of known items.
    n_ratings_ : int
        Number of pairs of a user and an item that were seen together.
    n_iter_ : int
        Number of sweeps that were run.
    loss_curve_ : list of float
        Mean squared error on the training ratings after each sweep, of that draw alone.
    validation_curve_ : list of float
        Mean squared error on the validation data after each sweep, of the mean of the draws so
        far. Only with validation data.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Pairs of a user code and an item code that `fit` has seen.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if all are strings.

    See Also
    --------
    MFRegressor : The same model of users and items, trained by gradients. It has `partial_fit`.
    DenseRecRegressor : A net over users, items and side features, trained by gradients.
    sklrec.modules.BayesianFactorizationMachine : The module alone.

    Notes
    -----
    **Sides.** A side feature that has one value in all rows of each user belongs to the user.
    Otherwise, one that has one value in all rows of each item belongs to the item. All others
    belong to the rating (``'context'``). Features of users and items are stored and sampled once
    for each user and item. `predict` reads all features from its own rows, so that they describe
    unknown users and items too. `recommend` uses the features that `fit` saw, and treats the
    context as missing. `similar_items` and `similar_users` compare the sums of all parts.

    **Missing values** (NaN, None, NaT, an empty list) are a category of their own. A column that
    is missing in some rows of a user but not in all therefore belongs to the rating. Fill the
    gaps first to avoid that. A value that `fit` did not see counts as missing. So does any value
    of a column that was empty in `fit`. Datetimes and time differences are numbers.

    If a user's ratings change from session to session, a column such as
    ``X["user"].astype(str) + X["day"].astype(str)`` often helps.

    **Priors.** The rows of each table have a Gaussian prior, and so have the values of each side
    feature. Its mean and precision have a Normal-Wishart prior with mean 0, weight 1, scale 1 and
    as many degrees of freedom as columns. A sweep draws these parameters, all users, all items
    and the context, each conditionally on all others. It also rescales whole columns together
    with their prior. Parameters that several rows share are drawn jointly by conjugate gradients,
    with the rows' own parts integrated out. With ``'squared_error'`` the noise precision is a
    common factor times a factor of each user, which has a Gamma prior with mean 1 and 4 degrees
    of freedom. With ``'ordinal'`` a sweep also draws the thresholds and the latent values.

    **Weights.** With ``'ordinal'`` a row of weight w counts as w rows in the mean and the
    variance of its latent value.

    **Validation data** measure `validation_curve_`. They do not stop the sampling.

    Ctrl-C during the sampling ends `fit` with a KeyboardInterrupt. The estimator then holds the
    model of the draws so far, and a warning says so. There is no `partial_fit`.

    References
    ----------
    Rendle (2010), "Factorization Machines", :doi:`10.1109/ICDM.2010.127`.

    Salakhutdinov, Mnih (2008), "Bayesian Probabilistic Matrix Factorization using Markov Chain
    Monte Carlo", :doi:`10.1145/1390156.1390267`.

    Rendle, Zhang, Koren (2019), "On the Difficulty of Evaluating Baselines",
    :doi:`10.48550/arXiv.1905.01395`.

    Albert, Chib (1993), "Bayesian Analysis of Binary and Polychotomous Response Data",
    :doi:`10.1080/01621459.1993.10476321`.

    Examples
    --------
    >>> from sklrec import BayesianMFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> X["genres"] = [["drama", "war"] if item % 3 else ["comedy"] for item in X["item"]]
    >>> X["weekend"] = X.pop("timestamp") // 86400 % 7 > 4
    >>> mf = BayesianMFRegressor(n_iter=50, random_state=0).fit(X, y)
    >>> ratings, std = mf.predict(X[:3], return_std=True)

    With side features, and with ratings as classes:

    >>> fm = BayesianMFRegressor(
    ...     loss="ordinal", side_features="all", n_iter=50, random_state=0
    ... ).fit(X, y.round())
    >>> fm.predict_rating_proba(X[:3]).shape
    (3, 5)
    >>> fm.side_blocks_["item"].names, fm.side_blocks_["context"].names
    (['genres'], ['weekend'])
    """

    _parameter_constraints = {
        **BaseRatingRegressor._parameter_constraints,
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "loss": [StrOptions({"squared_error", "ordinal"})],
        "svdpp": ["boolean"],
        "n_iter": [Interval(Integral, 1, None, closed="left")],
        "n_burn_in": [Interval(Integral, 0, None, closed="left")],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
        "side_features": [StrOptions({"all"}), "array-like", None],
    }

    def __init__(
        self,
        n_factors=10,
        *,
        loss="squared_error",
        svdpp=False,
        n_iter=210,
        n_burn_in=10,
        n_draws=100,
        side_features=None,
        categorical_features="from_dtype",
        rating_scale="auto",
        user=0,
        item=1,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        self.n_factors = n_factors
        self.loss = loss
        self.svdpp = svdpp
        self.n_iter = n_iter
        self.n_burn_in = n_burn_in
        self.n_draws = n_draws
        self.side_features = side_features
        self.categorical_features = categorical_features
        self.rating_scale = rating_scale
        self.user = user
        self.item = item
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X, return_std=False):
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
            The standard deviation of a rating around its prediction, before clipping: the spread
            of the draws plus the noise. Only if ``return_std=True``.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than the IDs that `fit` saw.
        """
        if not return_std:
            return self._predicted(X)
        return self._predicted_with_std(X)

    @available_if(_is_ordinal)
    def predict_rating_proba(self, X):
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
        check_is_fitted(self)
        if self.module_.stars is None:
            raise ValueError(
                "The model was fitted with another loss and has no probabilities of ratings. Fit "
                "it again with loss='ordinal'."
            )
        return self._by_blocks(
            self._check_X(X, reset=False),
            lambda inputs: self._call(self.module_.star_probabilities, inputs).cpu().numpy(),
        )

    def _learn(self, X, y, weight, previous):
        ids = resolve_columns(self, (self.user, self.item), X)
        side = SideFeatures.learn(
            self,
            X,
            ids,
            categorical_features=self.categorical_features,
            columns=self.side_features,
        )
        self.side_blocks_ = {name: SideBlock() for name in SIDES}  # super()._learn reads them
        inputs = super()._learn(X, y, weight, previous)
        self.side_blocks_ = assign_sides(side, X, inputs["users"], inputs["items"])
        # Features of each user and of each item, which _new_module stores in the module.
        self._described = {
            name: self.side_blocks_[name].arrays(X, np.unique(codes, return_index=True)[1])
            for name, codes in (("user", inputs["users"]), ("item", inputs["items"]))
        }
        values, weights = self.side_blocks_["context"].arrays(X)
        return inputs | {"context_values": values, "context_weights": weights}

    def _inputs(self, X, rows=slice(None)):
        inputs = super()._inputs(X, rows)
        for name, block in self.side_blocks_.items():
            if block.names:
                inputs[f"{name}_values"], inputs[f"{name}_weights"] = block.arrays(X, rows)
        return inputs

    def _new_module(self, y, weight, generator):
        mean, scale = mean_and_scale(y, weight)
        n_users, n_items = (len(vocabulary) for vocabulary in self.encoder_.vocabularies_)
        stars = None
        self.__dict__.pop("stars_", None)  # of an earlier fit
        if self.loss == "ordinal":
            self.stars_ = _different_ratings(y)
            stars = torch.from_numpy(self.stars_)
        module = BayesianFactorizationMachine(
            n_users,
            n_items,
            int(self.n_factors),
            **{f"n_{name}_values": block.sizes for name, block in self.side_blocks_.items()},
            stars=stars,
            global_mean=mean,
            scale=scale,
            init_std=INIT_STD,
            generator=generator,
        )
        for name, (values, weights) in self.__dict__.pop("_described").items():
            missing = [getattr(module, f"{name}_{what}")[:1] for what in ("values", "weights")]
            padding = 0, values.shape[1] - missing[0].shape[1]
            table = [
                torch.cat([pad(row, padding), torch.from_numpy(rows)])
                for row, rows in zip(missing, (values, weights), strict=True)
            ]
            module.set_features(name, *table)
        return module

    def _needs_float64(self):
        return True

    @property
    def n_items_(self):
        """Number of known items."""
        return len(self.encoder_.vocabularies_[1])

    def _n_steps(self):
        return self.n_iter

    def _new_solver(self, **changes):
        return GibbsSampler(
            int(self.n_iter),
            int(self.n_burn_in),
            int(self.n_draws),
            self.svdpp,
            int(self.verbose),
        )

    def __getattr__(self, name):
        # Python calls this only for attributes that do not exist.
        if name == "predict_rating_proba":
            _is_ordinal(self)
        if name == "partial_fit":
            raise AttributeError(
                "BayesianMFRegressor has no partial_fit: each fit runs a new chain over all "
                "ratings. Call fit with all ratings, or use MFRegressor, which has partial_fit."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
