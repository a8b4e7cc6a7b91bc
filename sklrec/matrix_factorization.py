"""Matrix factorisation as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from copy import copy, deepcopy
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklrec._base import mean_and_scale
from sklrec._devices import with_float64
from sklrec._fit_chunks import ChunkedRatingRegressor
from sklrec._normal_equations import RatingsByRow
from sklrec._random import new_generator
from sklrec._recommend import RecommenderMixin
from sklrec._rowwise_adam import RowwiseAdam
from sklrec._solvers import (
    INIT_STD,
    MINIBATCH_SOLVERS,
    AlternatingLeastSquares,
    GibbsSampler,
    fold_in,
    fold_in_draws,
)
from sklrec._validation import Interval, StrOptions
from sklrec.modules import BayesianMatrixFactorization, MatrixFactorization


@dataclass(frozen=True)
class _Auto:
    """What ``'auto'`` means for a solver."""

    n_factors: int
    alpha: float
    n_iter: int = 0


# Chosen on held-out parts of training data, by benchmarks/choose_defaults.py and choose_sweeps.py.
AUTO = {
    "sgd": _Auto(100, 0.07),
    "adam": _Auto(100, 0.07),
    "als": _Auto(48, 0.11, 6),
    "gibbs": _Auto(10, 0.0, 210),
}
# The same with implicit features, where that is another.
AUTO_IMPLICIT = {"sgd": _Auto(64, 0.1), "adam": _Auto(64, 0.13), "als": _Auto(24, 0.2, 6)}
# Standard deviation of a start from which the strongest patterns grow first.
SMALL_START = 0.01
# Rows of both tables for each rating of a batch from which on Adam moves only the touched ones.
# It saves a sixth of the time there, a third at twice as many rows; the RMSE is no worse.
SPARSE_FROM = 1
# Adam moves each term as far as it does an own row, and all of those that make up a sum together.
IMPLICIT_ADAM_LR = 0.01


def _sgd_start(max_epochs):
    """Give the standard deviation of the start for a number of epochs."""
    return min(0.08, max(SMALL_START, 0.7 / max_epochs**2))


def _trains_in_parts(estimator):
    """Whether a solver can go on with some of the ratings alone."""
    if estimator.solver not in ("als", "gibbs"):
        if not estimator.implicit_features:
            return True
        raise AttributeError(
            "implicit_features=True has no partial_fit: each further rating would change the "
            "description of a user and of an item. Use fold_in for new users or items, or fit "
            "with warm_start=True."
        )
    raise AttributeError(
        f"solver={estimator.solver!r} needs all ratings at once and has no partial_fit. Use "
        "fold_in for new users or items, fit with warm_start=True, or solver='sgd'."
    )


class MFRegressor(RecommenderMixin, ChunkedRatingRegressor):
    r"""Matrix factorisation with biases for rating prediction.

    A rating is predicted as

    .. math:: \hat r_{ui} = \mu + b_u + b_i + \langle p_u, q_i \rangle

    with the global mean :math:`\mu`, the biases :math:`b` and the factors :math:`p, q` of the
    user and the item. The biases and factors minimise

    .. math:: \sum_{(u, i)} w_{ui} \left[ (r_{ui} - \hat r_{ui})^2
              + \alpha (\|p_u\|^2 + \|q_i\|^2 + b_u^2 + b_i^2) \right]

    over ratings that are scaled to unit standard deviation, so that `alpha` and `lr` mean the
    same on any rating scale. A user or item that `fit` did not see has bias 0 and factors 0: an
    unknown user gets :math:`\mu + b_i`, an unknown item :math:`\mu + b_u`, both :math:`\mu`.

    Parameters
    ----------
    n_factors : int or 'auto', default='auto'
        Number of factors of each user and item. ``'auto'`` is 100 for ``'sgd'`` and ``'adam'``
        (64 with `implicit_features`), 48 for ``'als'`` (24) and 10 for ``'gibbs'``.
    solver : {'sgd', 'adam', 'als', 'gibbs'}, default='sgd'
        How the model is trained. ``'sgd'`` is stochastic gradient descent from a small random
        start, in which strong patterns grow first; a step moves only the rows of its batch.
        ``'adam'`` is Adam on the batch's mean. ``'als'`` solves for all users
        and for all items, exactly and in turns. ``'gibbs'`` is Bayesian matrix factorisation: it
        draws from the posterior distribution, predicts the mean over the draws, and knows how
        sure it is; the most accurate one, and nothing has to be tuned.
    biased : bool, default=True
        Whether the model has a global mean and biases.
    alpha : float or 'auto', default='auto'
        L2 penalty, in units of the ratings' standard deviation, on factors and biases, once for
        each rating. ``'auto'`` is 0.07, and 0.11 for ``'als'``; with `implicit_features` it is 0.1
        for ``'sgd'``, 0.13 for ``'adam'`` and 0.2 for ``'als'``. ``'gibbs'`` has none: it draws
        the distributions that the rows come from.
    n_iter : int or 'auto', default='auto'
        Number of sweeps over both tables, for ``'als'`` at most. ``'auto'`` is 6 for ``'als'``
        and 210 for ``'gibbs'``.
    n_burn_in : int, default=10
        Number of the first sweeps of ``'gibbs'`` that are not kept.
    n_draws : int, default=100
        How many of the other sweeps ``'gibbs'`` keeps at most, evenly spaced. The model's size
        grows with it.
    implicit_features : bool, default=False
        Whether each user is also described by the items that they rated, and each item by the
        users who rated it, whatever the ratings were (both sides of SVD++). More accurate, most
        of all for those with few ratings, and slower.
    max_epochs : int, default=15
        Number of passes over the ratings of ``'sgd'`` and ``'adam'``.
    lr : float or 'auto', default='auto'
        Learning rate at the start. For ``'sgd'`` it is the step for one rating, whatever the
        batch size. ``'auto'`` is ``1.2 / max_epochs``, at most 0.2, for ``'sgd'``, so that more
        epochs make the fit finer but no longer, and 0.02 for ``'adam'``, 0.01 with
        `implicit_features`.
    lr_schedule : {'linear', 'constant'}, default='linear'
        Whether the learning rate falls, from batch to batch, linearly to 0 over `max_epochs`.
    batch_size : int, default=4096
        Ratings in a batch.
    optimizer : type, default=None
        A ``torch.optim.Optimizer`` subclass to train with instead of the solver's own. It is
        given dense gradients of the batch's mean, as Adam is, and Adam's `lr` if that is
        ``'auto'``.
    init_std : float or 'auto', default='auto'
        Standard deviation of the factors' random start for ``'sgd'`` and ``'adam'``. ``'auto'``
        is 0.01, but with ``'sgd'`` and fewer than 9 epochs more, up to 0.08: there is no time to
        grow from a small start.
    early_stopping : bool or 'auto', default='auto'
        Whether to stop when the validation loss no longer falls, and to go back to the epoch
        in which it was lowest. ``'auto'`` does so if `X_val` is given to `fit`; ``True``
        without `X_val` holds out a part of the training data.
    validation_fraction : float, default=0.1
        Share of the training data to hold out for early stopping if `X_val` is not given.
    n_iter_no_change : int, default=5
        Number of epochs without a lower validation loss after which to stop.
    tol : float, default=1e-4
        By how much the validation loss must fall to count as lower, as a share of the variance
        of the ratings. ``'als'`` also stops when the training loss falls by less.
    rating_scale : (float, float), 'auto' or None, default='auto'
        Lowest and highest rating, to which predictions are clipped. ``'auto'`` takes them from
        the ratings; ``None`` does not clip.
    user : int or str, default=0
        Position, or name in a DataFrame, of the column of user IDs.
    item : int or str, default=1
        Position, or name in a DataFrame, of the column of item IDs. Columns other than these
        two are not used.
    warm_start : bool, default=False
        Whether `fit` goes on with the model of the previous call, as `partial_fit` does, but
        for `max_epochs` and with the schedule.
    callbacks : list, default=None
        Further skorch callbacks. They are used as they are, not copied.
    device : str or torch.device, default='cpu'
        Where to train and predict.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start, the order of the batches and the held-out part. torch's,
        numpy's and Python's global random states are left as they are, save that ``None``
        takes the seed from numpy's, as in scikit-learn.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints a line for each epoch.

    Attributes
    ----------
    module_ : MatrixFactorization or BayesianMatrixFactorization
        The fitted ``nn.Module``; for ``solver='gibbs'`` the second, with all draws. With
        `implicit_features` its buffers ``user_terms`` and ``item_terms`` hold y and x.
    net_ : skorch.NeuralNetRegressor
        The skorch net that trained it, with its ``history``. Only for ``'sgd'`` and ``'adam'``.
    encoder_ : IDEncoder
        Maps IDs to codes; the ID in place k of ``categories_`` has the code k + 1.
    user_factors_ : ndarray of shape (n_users, n_factors)
        The users' factors, in the order of ``encoder_.categories_[0]``; in units in which
        dot products are ratings. With ``'gibbs'`` these and those below are means of the draws.
    item_factors_ : ndarray of shape (n_items, n_factors)
        The items' factors, in the order of ``encoder_.categories_[1]``.
    user_biases_ : ndarray of shape (n_users,)
        The users' biases, in units of the ratings.
    item_biases_ : ndarray of shape (n_items,)
        The items' biases, in units of the ratings.
    global_mean_ : float
        The weighted mean of the training ratings; 0 if ``biased=False``.
    alpha_ : float
        The L2 penalty that the training used; 0 for ``'gibbs'``, which has none.
    rating_scale_ : tuple of (float, float) or None
        Lowest and highest rating.
    n_users_ : int
        Number of known users.
    n_items_ : int
        Number of known items.
    n_ratings_ : int
        Number of pairs of a user and an item that were seen together.
    n_iter_ : int
        Number of epochs or sweeps that were run.
    loss_curve_ : list of float
        Mean squared error of each epoch's batches, each before its step, or after each sweep;
        the penalty is not in it.
    validation_curve_ : list of float
        Mean squared error on the validation data after each epoch or sweep; that of the mean of
        the draws so far for ``'gibbs'``. Only if there are any.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Which codes of items the codes of users have ratings of, in `fit` and `partial_fit`.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if they are all strings.

    See Also
    --------
    sklrec.modules.MatrixFactorization : The module alone.
    sklrec.IDEncoder : The encoder alone.

    Notes
    -----
    Ctrl-C during the training ends `fit` with a KeyboardInterrupt, so that a search stops too,
    but leaves a usable model, that of the steps so far, and a warning. Before the training it
    leaves the estimator as it was. So does any error.

    The training of ``'sgd'`` and ``'adam'`` keeps to one thread as long as
    ``batch_size * n_factors`` is below a million, as it is by default; beyond that it uses one
    more for each half a million. The other two do so by an eighth of the number of ratings in
    place of `batch_size`.

    The model of ``'gibbs'`` is that of the formula above with Gaussian noise. The rows of either
    table, biases included, come from a Gaussian, whose mean and precision have a Normal-Wishart
    prior (mean 0 as if seen once, as many degrees of freedom as columns, scale 1). Some users are
    moodier than others: the precision of the noise is that of all, times a share of each user's,
    which comes from a Gamma distribution around 1 (with 4 degrees of freedom). A sweep draws
    these, all users and all items, each from its distribution given all else, and stretches
    whole columns together with their prior, which moves sooner so.

    With `implicit_features` a user's row gains :math:`|R(u)|^{-1/2} \sum_{i \in R(u)} y_i`, and an
    item's :math:`|R(i)|^{-1/2} \sum_{u \in R(i)} x_u`, biases included, where R are the training
    interactions. The fitted rows, ``user_factors_`` and the like, have these sums in them, so that
    it takes no longer to predict. ``'gibbs'`` draws all y, and all x, jointly by conjugate
    gradients, with the rows' own summed out. ``'sgd'`` and ``'adam'`` penalise what a row has of
    its own as above, and add :math:`5 \alpha w_{ui} (\|y_i\|^2 + \|x_u\|^2)` for each rating. They
    move y and x eight times an epoch, by the gradient of all batches since, ``'sgd'`` with
    momentum 0.9 and steps bounded so that no sum overshoots. ``'als'`` penalises a term three
    times as much as an own row, for each rating by the square of its share in the sum, and solves
    for all of them, after the own rows, by conjugate gradients. A fit with ``warm_start=True``
    takes the fitted rows as the rows' own, and starts y and x from zero; there is no
    `partial_fit`, since each further rating would change the description of others.

    From 4 users and items for each rating of a batch on (16,384 by default), a step of ``'adam'``
    moves only those that its batch holds, each at once by all that Adam would move it by momentum.
    A step then costs no more for a larger catalogue. With fewer, with `implicit_features` or with
    an `optimizer`, all users and items move in each step. Those of ``'sgd'`` never do.

    The ``'sgd'`` step of a user or item that occurs so often in a batch that the sum of its
    gradients would overshoot is bounded to 0.8 of their average.

    References
    ----------
    Koren, Bell, Volinsky (2009), "Matrix Factorization Techniques for Recommender Systems",
    :doi:`10.1109/MC.2009.263`; for ``'gibbs'`` Salakhutdinov, Mnih (2008), "Bayesian Probabilistic
    Matrix Factorization using Markov Chain Monte Carlo", :doi:`10.1145/1390156.1390267`; for
    implicit features Koren (2008), "Factorization Meets the Neighborhood",
    :doi:`10.1145/1401890.1401944`, and Rendle, Zhang, Koren (2019), "On the Difficulty of
    Evaluating Baselines", :doi:`10.48550/arXiv.1905.01395`; for the stretching of columns Liu,
    Sabatti (2000), "Generalised Gibbs Sampler and Multigrid Monte Carlo for Bayesian
    Computation", :doi:`10.1093/biomet/87.2.353`.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> mf = MFRegressor(n_factors=8, random_state=0).fit(X, y)
    >>> mf.predict(X[:3]).shape
    (3,)
    >>> mf.recommend([7], n_items=3).columns.to_list()
    ['user', 'item', 'rank', 'score']

    A Bayesian model knows how sure it is:

    >>> bayesian = MFRegressor(solver="gibbs", n_iter=50, random_state=0).fit(X, y)
    >>> ratings, std = bayesian.predict(X[:3], return_std=True)
    >>> std.shape
    (3,)
    """

    _parameter_constraints = {
        **ChunkedRatingRegressor._parameter_constraints,
        "n_factors": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "solver": [StrOptions(set(AUTO))],
        "biased": ["boolean"],
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "n_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "n_burn_in": [Interval(Integral, 0, None, closed="left")],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "implicit_features": ["boolean"],
        "init_std": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        n_factors="auto",
        *,
        solver="sgd",
        biased=True,
        alpha="auto",
        n_iter="auto",
        n_burn_in=10,
        n_draws=100,
        implicit_features=False,
        max_epochs=15,
        lr="auto",
        lr_schedule="linear",
        batch_size=4096,
        optimizer=None,
        init_std="auto",
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        rating_scale="auto",
        user=0,
        item=1,
        warm_start=False,
        callbacks=None,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        self.n_factors = n_factors
        self.solver = solver
        self.biased = biased
        self.alpha = alpha
        self.n_iter = n_iter
        self.n_burn_in = n_burn_in
        self.n_draws = n_draws
        self.implicit_features = implicit_features
        self.max_epochs = max_epochs
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.init_std = init_std
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.rating_scale = rating_scale
        self.user = user
        self.item = item
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X, return_std=False):
        """Predict the ratings of interactions.

        A user or item that `fit` did not see gets the best estimate there is without it.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as in `fit`.
        return_std : bool, default=False
            Whether to give standard deviations too. Only with ``solver='gibbs'``.

        Returns
        -------
        ratings : ndarray of shape (n_samples,)
            The ratings as float64, inside the rating scale. Each depends on its own row alone.
        std : ndarray of shape (n_samples,)
            The standard deviation of a rating around its prediction, before clipping: what the
            draws leave open, and the noise. Only if ``return_std=True``.

        Raises
        ------
        ValueError
            If ``return_std=True`` and the model is no Bayesian one.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than those that `fit` saw.
        """
        if not return_std:
            return self._predicted(X)
        check_is_fitted(self)
        if not isinstance(self.module_, BayesianMatrixFactorization):
            raise ValueError(
                "return_std=True needs draws of a posterior distribution, and this model, a "
                f"{type(self.module_).__name__}, has none. Fit with solver='gibbs'."
            )
        return self._predicted_with_std(X)

    @available_if(_trains_in_parts)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch on further interactions.

        The first call starts a model; later ones go on with it. Users and items that were not
        there before get rows of their own. The learning rate is constant, but with
        ``solver="sgd"`` the more ratings a user or item has had, the less further ones move
        it; a few passes teach the model new users without harm to what it knows. ``"adam"``
        takes 0.3 of the rate and starts its moments anew. The global mean stays that of the
        first call. An automatic rating scale widens with what comes.

        Only with ``solver="sgd"`` and ``solver="adam"``, and without `implicit_features`: all
        else needs all ratings at once.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as at the first call.
        y : array-like of shape (n_samples,)
            The ratings.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative; only their proportions matter.

        Returns
        -------
        MFRegressor
            The estimator.
        """
        return super().partial_fit(X, y, sample_weight)

    def fold_in(self, X, y, sample_weight=None):
        """Give users or items that `fit` did not see factors of their own.

        All else is held as it is: the factors and the bias of each new user, or item, are those
        that fit its ratings best, by one exact solve. With ``solver='gibbs'`` they are drawn,
        given each of the draws. This takes a moment, and this estimator stays as it is.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            Interactions, columns as in `fit`, of new users with known items or of known users
            with new items.
        y : array-like of shape (n_samples,)
            The ratings.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative; only their proportions matter.

        Returns
        -------
        MFRegressor
            A fitted copy that knows the new users and items.

        Raises
        ------
        ValueError
            If a row has neither a new user nor a new item, or both; or if X or y is not what was
            asked for.
        """
        check_is_fitted(self)
        X, y, weight = self._check_rated(X, y, sample_weight, reset=False)
        n_known = [len(vocabulary) for vocabulary in self.encoder_.vocabularies_]
        folded = copy(self)
        folded._grow_to(X, y, weight)
        inputs = folded._inputs(X)
        codes = {"user": inputs["users"], "item": inputs["items"]}
        is_new = {"user": codes["user"] > n_known[0], "item": codes["item"] > n_known[1]}
        odd = np.flatnonzero(is_new["user"] == is_new["item"])
        if len(odd):
            both = "a new user and a new item" if is_new["user"][odd[0]] else "neither of the two"
            raise ValueError(
                "fold_in takes ratings by new users of known items, or by known users of new "
                f"items; row {odd[0]} has {both}. Leave such rows out, or fit anew."
            )
        generator = new_generator(check_random_state(self.random_state))
        for side, other, n in (("user", "item", n_known[0]), ("item", "user", n_known[1])):
            rows = is_new[side]
            if rows.any():
                folded._fold_in_side(
                    self.module_,
                    side,
                    codes[side][rows] - n - 1,
                    codes[other][rows],
                    y[rows],
                    weight[rows],
                    generator,
                )
        return folded

    def _grow_to(self, X, y, weight):
        """Make room for what is new in X, in a copy of the module."""
        previous = copy(self)
        if "net_" in vars(self):
            del self.net_  # it trained another module
        self._learn(X, y, weight, previous)
        self.module_ = deepcopy(previous.module_)
        n_users, n_items = (len(vocabulary) for vocabulary in self.encoder_.vocabularies_)
        module = self.module_
        if isinstance(module, BayesianMatrixFactorization):
            module.append_unknown(n_users, n_items)
        else:
            module.grow(n_users, n_items, torch.Generator())

    def _fold_in_side(self, known, side, rows, partners, y, weight, generator):
        module = self.module_
        z = (y - module.global_mean.item()) / module.scale.item()
        n_new = getattr(module, f"n_{side}s") - getattr(known, f"n_{side}s")
        n_partners = getattr(known, f"n_{'item' if side == 'user' else 'user'}s") + 1
        ratings = RatingsByRow(
            rows,
            [partners],
            z,
            weight,
            n_rows=n_new,
            n_partners=[n_partners],
            n_columns=module.n_factors + module.biased,
            biased=module.biased,
            replaceable=isinstance(known, BayesianMatrixFactorization),
            device=with_float64(module.global_mean.device),
        )
        if isinstance(known, BayesianMatrixFactorization):
            device = module.global_mean.device
            other = "item" if side == "user" else "user"
            codes = {side: rows, other: partners}
            codes = {name: torch.from_numpy(part).to(device) for name, part in codes.items()}
            z, weight = (torch.from_numpy(v.astype(np.float32)).to(device) for v in (z, weight))
            found, noise = fold_in_draws(known, side, ratings, codes, z, weight, generator)
            module.set_rows(side, found)
            if noise is not None:
                module.user_noise[:, -n_new:] = noise
        else:
            module.set_rows(side, fold_in(known, side, ratings, self.alpha_))

    def _new_module(self, y, weight, generator):
        return self._make_module(*mean_and_scale(y, weight), generator)

    def _make_module(self, mean, scale, generator):
        n_users, n_items = (len(vocabulary) for vocabulary in self.encoder_.vocabularies_)
        shared = {
            "biased": self.biased,
            "global_mean": mean if self.biased else 0.0,
            "scale": scale,
            "init_std": self._init_std() if self._is_minibatch() else INIT_STD,
            "generator": generator,
        }
        sizes = n_users, n_items, self._n_factors()
        if self.solver == "gibbs":
            return BayesianMatrixFactorization(*sizes, **shared)
        return MatrixFactorization(*sizes, **shared, sparse=self._takes_sparse_gradients())

    def _grow_module(self, generator):
        self._refuse_change("biased")
        if self._n_factors() != self.module_.n_factors:
            self._refuse_change("n_factors")
        n_users, n_items = (len(vocabulary) for vocabulary in self.encoder_.vocabularies_)
        grown = self.module_.grow(n_users, n_items, generator)
        # The solver may be another than before, and so may the kind of module.
        mean, scale = grown.global_mean.item(), grown.scale.item()
        self.module_ = self._make_module(mean, scale, generator)
        self.module_.load_state_dict(dict(grown.named_parameters()), strict=False)

    def _record(self, outcome, previous, *, with_validation):
        super()._record(outcome, previous, with_validation=with_validation)
        self.alpha_ = self._alpha()

    def _new_solver(self, **changes):
        if self._is_minibatch():
            self._refuse_unused(("n_iter", "auto"), ("n_burn_in", 10), ("n_draws", 100))
            return super()._new_solver(implicit_features=self.implicit_features, **changes)
        self._refuse_unused(
            ("optimizer", None),
            ("callbacks", None),
            ("lr", "auto"),
            ("lr_schedule", "linear"),
            ("batch_size", 4096),
        )
        n_iter = self._n_steps()
        if self.solver == "als":
            self._refuse_unused(("n_burn_in", 10), ("n_draws", 100))
            return AlternatingLeastSquares(
                alpha=self._alpha(),
                n_iter=n_iter,
                tol=self.tol,
                early_stopping=changes.get("early_stopping", False),
                n_iter_no_change=self.n_iter_no_change,
                verbose=int(self.verbose),
                implicit_features=self.implicit_features,
            )
        if self.alpha != "auto":  # not an error: scikit-learn's checks set it where it is there
            warnings.warn(
                f"solver='gibbs' has no penalty that alpha={self.alpha!r} could set: it draws the "
                "distributions that factors and biases come from. Leave alpha at 'auto'.",
                UserWarning,
                stacklevel=5,
            )
        if self.early_stopping is True:
            raise ValueError(
                "early_stopping=True has no meaning for solver='gibbs', whose model is the mean "
                "of many draws. Set early_stopping=False, and n_iter to the number of sweeps."
            )
        return GibbsSampler(
            n_iter,
            int(self.n_burn_in),
            int(self.n_draws),
            self.implicit_features,
            int(self.verbose),
        )

    def _refuse_unused(self, *usual):
        """Raise if a parameter that the solver does not read is set."""
        for name, default in usual:
            value = getattr(self, name)
            if value is not default and value != default:
                raise ValueError(
                    f"solver={self.solver!r} has no use for {name}={value!r}. Leave it at "
                    f"{default!r}, or use another solver."
                )

    def _check_fits_chunks(self):
        if self.implicit_features or not self._is_minibatch():
            what = f"solver={self.solver!r}"
            if self.implicit_features:
                what = "implicit_features=True"
            raise ValueError(
                f"{what} needs all ratings at once and cannot be fitted to them in chunks. "
                "solver='sgd' and solver='adam' can, without implicit_features; or pass X and y "
                "as a whole."
            )

    def _n_steps(self):
        if self._is_minibatch():
            return self.max_epochs
        return self._auto().n_iter if self.n_iter == "auto" else int(self.n_iter)

    def _is_minibatch(self):
        return self.solver in MINIBATCH_SOLVERS

    def _needs_float64(self):
        return not self._is_minibatch()

    def _auto(self):
        auto = {**AUTO, **AUTO_IMPLICIT} if self.implicit_features else AUTO
        return auto[self.solver]

    def _n_factors(self):
        return self._auto().n_factors if self.n_factors == "auto" else int(self.n_factors)

    def _alpha(self):
        return self._auto().alpha if self.alpha == "auto" else self.alpha

    def _init_std(self):
        if self.init_std != "auto":
            return self.init_std
        of_sgd = self.solver == "sgd" and self.optimizer is None
        return _sgd_start(self.max_epochs) if of_sgd else SMALL_START

    def _optimization(self):
        sparse = self._takes_sparse_gradients()
        if sparse and self.solver == "sgd":
            return MINIBATCH_SOLVERS["sgd"]
        optimization = MINIBATCH_SOLVERS["adam"]
        if sparse:
            return optimization._replace(optimizer=RowwiseAdam)
        if self.implicit_features:
            optimization = optimization._replace(auto_lr=lambda max_epochs: IMPLICIT_ADAM_LR)
        return optimization._replace(optimizer=self.optimizer or optimization.optimizer)

    def __getattr__(self, name):
        # Only asked for what is not there.
        if name == "partial_fit":
            _trains_in_parts(self)
        if name == "net_" and "module_" in vars(self):
            raise AttributeError(
                f"A model of solver={self.solver!r} was not trained by a skorch net and has no "
                "net_; module_ holds it."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _rating_counts(self):
        return {"user": self.seen_.sum(axis=1), "item": self.seen_.sum(axis=0)}

    def _takes_sparse_gradients(self):
        if self.optimizer is not None or not self._is_minibatch():
            return False
        if self.solver == "sgd":
            return True
        # The sums that describe rows by whom they met have whole tables as gradients.
        n_rows = sum(len(vocabulary) for vocabulary in self.encoder_.vocabularies_)
        return not self.implicit_features and n_rows > SPARSE_FROM * int(self.batch_size)

    @property
    def n_items_(self):
        """Number of known items."""
        return len(self.encoder_.vocabularies_[1])

    @property
    def user_factors_(self):
        """Factors of the known users."""
        return self._table("user_factors.weight", 0.5)

    @property
    def item_factors_(self):
        """Factors of the known items."""
        return self._table("item_factors.weight", 0.5)

    @property
    def user_biases_(self):
        """Biases of the known users."""
        return self._table("user_biases", 1)

    @property
    def item_biases_(self):
        """Biases of the known items."""
        return self._table("item_biases", 1)

    def _table(self, name, power_of_scale):
        # The module works on ratings of unit standard deviation.
        scale = self.module_.scale.item() ** power_of_scale
        return self.module_.get_parameter(name).detach().cpu().numpy()[1:] * scale
