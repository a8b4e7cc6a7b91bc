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

# More different ratings than that are hardly stars.
MAX_STARS = 1000


def _is_ordinal(estimator):
    """Whether the model knows the probability of each star."""
    if estimator.loss == "ordinal":
        return True
    raise AttributeError(
        f"loss={estimator.loss!r} gives no probabilities of stars. Fit with loss='ordinal', or "
        "ask predict for return_std=True."
    )


class BayesianMFRegressor(RecommenderMixin, BaseRatingRegressor):
    r"""Bayesian factorisation machine over users, items and side features.

    A rating is predicted as

    .. math:: \hat r = \mu + b_u + b_i + b_c
              + \langle p_u, q_i \rangle + \langle p_u, t_c \rangle + \langle q_i, t_c \rangle

    A user's factors :math:`p_u` and bias :math:`b_u` are sums of the user's own, of those of the
    values of the user's side features and, with `svdpp`, of those that the rated
    items contribute; so are an item's. What varies from rating to rating, such as the day, makes
    up the context c, which has features only. All are drawn from their posterior distribution by
    Gibbs sampling; the prediction is the mean over the draws. There is nothing to tune.

    Parameters
    ----------
    n_factors : int, default=10
        Number of factors of each user, item and value.
    loss : {'squared_error', 'ordinal'}, default='squared_error'
        How ratings come from what the factors predict. ``'squared_error'`` adds Gaussian noise.
        ``'ordinal'`` takes ratings as ordered classes (a probit model with thresholds between
        them), gives the probability of each, and predicts the mean; for stars, which are few.
    svdpp : bool, default=False
        Whether to add SVD++ terms: each user is also described by the items that they rated, and
        each item by the users who rated it, whatever the ratings were. This is more accurate and
        slower.
    n_iter : int, default=210
        Number of sweeps, each of which draws everything once.
    n_burn_in : int, default=10
        Number of the first sweeps that are not kept.
    n_draws : int, default=100
        How many of the other sweeps are kept at most, evenly spaced. The time of predictions
        grows with it, and so does the model: each user, item and value of a side feature takes
        ``4 * n_draws * (n_factors + 1)`` bytes.
    side_features : None, 'all' or array-like of int or str, default=None
        Columns of X to read besides users and items: none, all others, or those at the given
        positions or of the given names.
    categorical_features : 'from_dtype' or array-like, default='from_dtype'
        Columns to take as categories although they hold numbers: positions, names, or a mask
        with one boolean for each column of X. Strings, booleans, other objects, and whatever
        has the dtype category are taken as categories in any case. A row may also hold several
        values: in a column of lists, tuples or sets, as ``X["genres"].str.split("|")`` makes it.
    rating_scale : (float, float), 'auto' or None, default='auto'
        Lowest and highest rating, to which predictions are clipped. ``'auto'`` takes them from
        the ratings; ``None`` does not clip.
    user : int or str, default=0
        Position, or name in a DataFrame, of the column of user IDs.
    item : int or str, default=1
        Position, or name in a DataFrame, of the column of item IDs.
    device : str or torch.device, default='cpu'
        Where to train and predict.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start and of all draws. ``None`` takes it from numpy's global random
        state, as in scikit-learn.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    module_ : BayesianFactorizationMachine
        The fitted ``nn.Module`` with all draws.
    encoder_ : IDEncoder
        Maps IDs to codes; the ID in place k of ``categories_`` has the code k + 1.
    side_blocks_ : dict of str to SideBlock
        Which columns of side features were found to belong to the ``'user'``, to the ``'item'``
        and to the rating itself, the ``'context'``; see ``names``.
    stars_ : ndarray of shape (n_stars,)
        The different ratings, in increasing order. Only with ``loss='ordinal'``.
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
        Mean squared error of the training ratings after each sweep, around that draw alone.
    validation_curve_ : list of float
        Mean squared error on the validation data of the mean of the draws so far. Only if there
        are any.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Which codes of items the codes of users have ratings of.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if they are all strings.

    See Also
    --------
    MFRegressor : The same model for users and items, trained by gradients.
    DenseRecRegressor : A net over the same columns, trained by gradients.
    sklrec.modules.BayesianFactorizationMachine : The module alone.

    Notes
    -----
    A side feature that has one value in all rows of a user belongs to the user; of the others,
    one that has one value in all rows of an item belongs to the item; the rest to the rating.
    The first two are stored and sampled once a user and once an item, however many ratings they
    have. `predict` reads them from its own rows, so that an unknown user with known features is
    more than an average one. `recommend` takes those of `fit`, and the context as missing;
    `similar_items` and `similar_users` compare whole rows, with what `fit` knew of features.

    Side features may be missing (NaN, None, NaT): that is a value of its own, so that a column
    with gaps in some of a user's rows, but not in all, belongs to the rating; fill them in first.
    A value that `fit` did not see counts as missing, and so does all that comes in a column that
    held nothing in `fit`. Datetimes and time differences are numbers. Where moods change, a
    column of the user's day, as in
    ``X["session"] = X["user"].astype(str) + X["day"].astype(str)``, often helps.

    The rows of each table, and the values of each side feature, come from a Gaussian, whose mean
    and precision have a Normal-Wishart prior (mean 0 as if seen once, as many degrees of freedom
    as columns, scale 1). A sweep draws these, all users, all items and the context, each from
    its distribution given all else, and stretches whole columns together with their prior. What
    rows share is drawn jointly, by conjugate gradients, with the rows' own summed out. With
    ``'squared_error'`` the precision of the noise is a common one times a share of each user's,
    which comes from a Gamma distribution around 1 (with 4 degrees of freedom).
    ``'ordinal'`` also draws the thresholds and, given them, the latent values.

    With ``'ordinal'`` a row of weight w counts as w such rows as far as the mean and the variance
    of its latent value go.

    Ctrl-C during the sampling ends `fit` with a KeyboardInterrupt but leaves the model of the
    draws so far, and a warning.

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
    >>> fm = BayesianMFRegressor(
    ...     loss="ordinal", side_features="all", n_iter=50, random_state=0
    ... )
    >>> ratings, std = fm.fit(X, y.round()).predict(X[:3], return_std=True)
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

    def fit(
        self,
        X,
        y=None,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Fit the model to rated interactions.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, a row each, with a column of user IDs, one of item IDs, and those
            of side features.
        y : array-like of shape (n_samples,), default=None
            The ratings; there must be some.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative; only their proportions matter. Rows of
            weight 0 are as good as absent: their IDs stay unknown.
        X_val : {DataFrame, array-like} of shape (n_val, n_features), default=None
            Interactions to measure the validation loss on after each sweep. Behind an encoder in
            a Pipeline they have to be encoded too: see ``transform_input`` of
            `sklearn.pipeline.Pipeline`.
        y_val : array-like of shape (n_val,), default=None
            The ratings of `X_val`.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weight of each rating of `y_val`.

        Returns
        -------
        BayesianMFRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid. The estimator is then as it was before.
        KeyboardInterrupt
            If Ctrl-C ended the sampling; the estimator holds the model of the draws so far.

        Warns
        -----
        UserWarning
            If IDs of `X_val` are of another kind than those of `X`, or if the sampling was
            interrupted.
        """
        return super().fit(
            X,
            y,
            sample_weight,
            X_val=X_val,
            y_val=y_val,
            sample_weight_val=sample_weight_val,
        )

    def predict(self, X, return_std=False):
        """Predict the ratings of interactions.

        A user or item that `fit` did not see gets the best estimate that there is from its side
        features.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as in `fit`.
        return_std : bool, default=False
            Whether to give standard deviations too.

        Returns
        -------
        ratings : ndarray of shape (n_samples,)
            The ratings as float64, inside the rating scale. Each depends on its own row alone.
        std : ndarray of shape (n_samples,)
            The standard deviation of a rating around its prediction, before clipping: what the
            draws leave open, and the noise. Only if ``return_std=True``.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than those that `fit` saw.
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
            The probabilities of ``stars_``; each row sums to 1. Their mean is what `predict`
            gives.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than those that `fit` saw.
        """
        check_is_fitted(self)
        if self.module_.stars is None:
            raise ValueError(
                "The model was fitted with another loss and knows no probabilities of stars. Fit "
                "it with loss='ordinal'."
            )
        return self._by_blocks(self._check_X(X, reset=False), self._star_probabilities)

    def _star_probabilities(self, inputs):
        return self._call(self.module_.star_probabilities, inputs).cpu().numpy()

    def _learn(self, X, y, weight, previous):
        side = SideFeatures.learn(
            self,
            X,
            resolve_columns(self, (self.user, self.item), X),
            categorical_features=self.categorical_features,
            columns=self.side_features,
        )
        self.side_blocks_ = {name: SideBlock() for name in SIDES}
        inputs = super()._learn(X, y, weight, previous)
        self.side_blocks_ = assign_sides(side, X, inputs["users"], inputs["items"])
        # For _new_module: what describes users and items, once each.
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
        self.__dict__.pop("stars_", None)  # an earlier fit's
        if self.loss == "ordinal":
            self.stars_ = self._different(y)
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

    def _different(self, y):
        stars = np.unique(y.astype(np.float32))
        if len(stars) > MAX_STARS:
            raise ValueError(
                f"loss='ordinal' takes ratings as classes, such as the stars 1 to 5, got "
                f"{len(stars)} different ones. Round them, or set loss='squared_error'."
            )
        return stars

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
        # Only asked for what is not there.
        if name == "predict_rating_proba":
            _is_ordinal(self)
        if name == "partial_fit":
            raise AttributeError(
                f"BayesianMFRegressor has no {name}: each fit is a chain of its own. Fit anew, or "
                "use MFRegressor, which has it."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
