"""Matrix factorisation as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import torch

from sklrec._core.base import TRAINING_CONSTRAINTS, BaseRatingRegressor
from sklrec._core.fit import check_unchanged, converted_module, minibatch_solver
from sklrec._core.readers import n_ids
from sklrec._solvers.minibatch import DENSE_GRADIENTS, SGD
from sklrec._solvers.penalties import LearnedPenalties
from sklrec._utils.state.kinds import Optional, Part
from sklrec._utils.state.modules import Module
from sklrec._utils.types import Auto, Column, Device, Loss, RandomState, RatingScale, Whole
from sklrec._utils.versions import Interval, StrOptions
from sklrec.estimators._factors import FactorsMixin
from sklrec.modules import MatrixFactorization

# n_factors="auto", without and with SVD++ terms. benchmarks/choose.py chose them on held-out parts
# of training data.
AUTO_N_FACTORS = {False: 100, True: 80}
# alpha="auto" of a model without biases, whose fit would tell the variances.
AUTO_ALPHA = {False: 0.07, True: 0.1}
# Standard deviation of a start from which the strongest patterns grow first.
SMALL_START = 0.01
# lr="auto" of an optimiser with SVD++ terms. Adam moves each term as far as a row of its own, and
# all terms of a sum move together.
SVDPP_DENSE_LR = 0.01


class MFRegressor(FactorsMixin, BaseRatingRegressor):
    r"""Matrix factorisation with biases for rating prediction.

    A rating is predicted as

    .. math:: \hat r_{ui} = \mu + b_u + b_i + \langle p_u, q_i \rangle

    with the constant :math:`\mu`, the biases :math:`b` and the factors :math:`p, q` of the user
    and the item. The biases and factors minimise the squared error plus penalties. By default the
    penalties are learned from the ratings, see Notes. With a number for `alpha` they minimise

    .. math:: \sum_{(u, i)} w_{ui} \left[ (r_{ui} - \hat r_{ui})^2
              + \alpha (\|p_u\|^2 + \|q_i\|^2 + b_u^2 + b_i^2) \right]

    over ratings that are scaled to unit standard deviation, so that `alpha` and `lr` mean the
    same on any rating scale. A user or item that `fit` did not see has bias 0 and factors 0: an
    unknown user gets :math:`\mu + b_i`, an unknown item :math:`\mu + b_u`, both :math:`\mu`. The
    same holds for users and items whose ratings were all held out for early stopping.

    Parameters
    ----------
    n_factors : int or 'auto', default='auto'
        Number of factors of each user and item. ``'auto'`` is 100, and 80 with `svdpp`.
    biased : bool, default=True
        Whether the model has a global mean and biases. Without them, a rating is the dot product
        alone, and an unknown user or item gets the mean rating.
    alpha : float or 'auto', default='auto'
        L2 penalty, in units of the ratings' standard deviation, on factors and biases, once for
        each rating. ``'auto'`` learns penalties and the start of the biases from the ratings, see
        Notes. With ``biased=False`` it is 0.07, and 0.1 with `svdpp`.
    loss : str or callable, default='squared_error'
        Loss that training minimises. ``'squared_error'`` predicts the mean of a rating,
        ``'absolute_error'`` its median, and ``'quantile'`` its `quantile`. ``'huber'`` is half
        the squared error for small errors and linear for large ones, so that outliers count
        less. The limit is 1.345 times a robust standard deviation of the errors of the start. A
        function or ``nn.Module`` ``loss(prediction, target)`` takes two tensors of shape (n,) in
        units of the ratings, and returns the loss of each rating. If it returns one number for a
        batch, there are no sample weights. `score` stays R2.
    quantile : float, default=0.5
        The quantile that ``loss='quantile'`` predicts, between 0 and 1.
    svdpp : bool, default=False
        Whether to add SVD++ terms: each user is also described by the items that they rated, and
        each item by the users who rated it, whatever the ratings were. This is more accurate,
        mainly for users and items with few ratings, and slower.
    max_epochs : int, default=15
        Number of passes over the ratings.
    lr : float or 'auto', default='auto'
        Learning rate of the first batch: the step for one rating, whatever the batch size. It
        falls linearly to 0 over `max_epochs`. ``'auto'`` is ``1.2 / max_epochs``, at most 0.2.
        With an `optimizer` it is 0.02, and 0.01 with `svdpp`. If the training diverges with
        ``'auto'``, it starts again with half the rate.
    batch_size : int, default=4096
        Ratings in a batch.
    optimizer : type, default=None
        A ``torch.optim.Optimizer`` subclass to train with instead of stochastic gradient descent
        on the rows of the batch. It gets dense gradients of the mean over the batch.
    init_std : float or 'auto', default='auto'
        Standard deviation of the factors' random start. ``'auto'`` is 0.01. With fewer than 9
        epochs and no `optimizer` it is larger, up to 0.08, since factors cannot grow from a small
        start in a short time.
    early_stopping : bool, float or 'auto', default='auto'
        Whether to stop when the validation loss has not fallen for 5 epochs, and to restore the
        epoch with the lowest loss. ``'auto'`` does so if `fit` gets `X_val`. Without `X_val`,
        ``True`` holds out a tenth of the training data, and a float such as 0.2 that share. A
        ``skorch.callbacks.EarlyStopping`` in `callbacks` replaces this rule.
    rating_scale : (float, float), 'auto' or None, default='auto'
        Lowest and highest rating, to which predictions are clipped. ``'auto'`` takes them from
        the ratings; ``None`` does not clip.
    user : int or str, default='auto'
        Position or name of the column of user IDs. ``'auto'`` takes the columns named ``user``
        and ``item`` if X has both, and the first two columns if it has neither. If it has one of
        them, name the other column.
    item : int or str, default='auto'
        Position or name of the column of item IDs. Columns other than these
        two are not used.
    warm_start : bool, default=False
        Whether `fit` continues with the model of the previous call. It then trains for
        `max_epochs` with a new schedule of the learning rate.
    callbacks : list, default=None
        Further skorch callbacks, or pairs of a name and a callback. They are not copied. A
        ``skorch.callbacks.LRScheduler`` replaces the linear fall of the learning rate.
        `sklrec.ModelCheckpoint` saves the model during the training.
    device : str or torch.device, default='cpu'
        Device of training and prediction, such as ``'cpu'`` or ``'cuda'``.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start, the order of the batches and the held-out part. The global
        random states of torch, numpy and Python stay as they are, except that ``None`` takes the
        seed from numpy's, as in scikit-learn.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints a line for each epoch.

    Attributes
    ----------
    module_ : MatrixFactorization
        The fitted ``nn.Module``.
    net_ : skorch.NeuralNetRegressor
        The skorch net that trained it, with its ``history``.
    encoder_ : IDEncoder
        Maps IDs to codes. The ID in place k of ``categories_`` has the code k + 1.
    user_factors_ : ndarray of shape (n_users, n_factors)
        The users' factors, in the order of ``encoder_.categories_[0]``. Dot products are in
        units of the ratings.
    item_factors_ : ndarray of shape (n_items, n_factors)
        The items' factors, in the order of ``encoder_.categories_[1]``.
    user_biases_ : ndarray of shape (n_users,)
        The users' biases, in units of the ratings. Only if ``biased=True``.
    item_biases_ : ndarray of shape (n_items,)
        The items' biases, in units of the ratings. Only if ``biased=True``.
    global_mean_ : float
        The constant :math:`\mu`: that of `BiasRegressor` if penalties were learned, else the
        weighted mean of the training ratings. Another `loss` adds what minimises it. `partial_fit`
        computes the constant together with the biases.
        With ``biased=False``, it is only the prediction for unknown users and items.
    penalties_ : LearnedPenalties or None
        Penalties that were learned from the ratings. ``user_penalty``, ``item_penalty`` and
        ``noise_variance`` are those of `BiasRegressor`. ``loss`` is the mean training loss of its
        biases, by the loss ``loss_name``. ``n_ratings`` is the number of ratings that they were
        learned from. None with a number for `alpha` or ``biased=False``.
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
        Number of epochs that were run.
    loss_curve_ : list of float
        Mean loss of each epoch's batches, each before its step, without the penalty: the mean
        squared error, or that of another `loss`, in units of the ratings.
    validation_curve_ : list of float
        The same on the validation data after each epoch. Only with validation data.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Pairs of a user code and an item code that `fit` and `partial_fit` have seen.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if all are strings.

    See Also
    --------
    BayesianMFRegressor : The same model with a posterior distribution and standard deviations.
    sklrec.modules.MatrixFactorization : The module alone.
    sklrec.IDEncoder : The encoder alone.

    Notes
    -----
    Ctrl-C during the training ends `fit` with a KeyboardInterrupt, so that a search stops too.
    The estimator then holds the model of the steps so far, and a warning says so. An error, or
    Ctrl-C before the training, leaves the estimator as it was.

    **Learned penalties.** With ``alpha='auto'``, :math:`\mu` and the biases start as those of
    `BiasRegressor`, and the training minimises

    .. math:: \sum_{(u, i)} w_{ui} (r_{ui} - \hat r_{ui})^2 + c_U \sum_u b_u^2 + c_I \sum_i b_i^2
              + s \sum_u (0.1\, n_u + 1.5) \|p_u\|^2 + s \sum_i (0.1\, n_i + 1.5) \|q_i\|^2

    where :math:`n` are numbers of ratings and :math:`c_U, c_I` the penalties of `BiasRegressor`.
    The strength :math:`s` is the variance of the noise, in units of the ratings' variance. From
    the third epoch it is multiplied by the cube of the training error over that of the biases
    alone, at most 1 and at least 0.03. Factors therefore stay near 0 on a log of noise, and grow
    on a log with strong patterns. With `svdpp` 1.5 is 3, and the penalty of the terms y and x is
    :math:`s (0.5\, n + 100)`, of their biases :math:`s (0.5\, n + 150)`. With an `optimizer`
    :math:`s` stays the variance of the noise. Later fits learn the penalties again if they have
    more ratings than those that the penalties came from.

    **Updates.** `partial_fit` trains for one epoch with a constant learning rate. The more ratings
    a user or item has had, the less further ratings move it. A few passes therefore adapt the
    model to new users and change little else. An `optimizer` takes 0.3 of the rate and starts with
    a new state. There is no `partial_fit` with `svdpp`, since each further rating would change the
    terms of others.

    **Losses.** With another `loss` than the squared error, the start is the same with the
    constant that minimises the loss. The slopes of the loss are scaled to the size of those of the
    squared error, so that `alpha` and `lr` keep their meaning. The kink of the loss of a
    quantile or median is smooth over a seventh of the standard deviation of the noise. This is as
    if predictions had errors of this size, as they have on new ratings. The slopes
    of a function are scaled by one number. `partial_fit` moves constant and biases by
    the slopes of the loss.

    The training uses one thread as long as ``batch_size * n_factors`` is below a million, as it is
    by default, and one more for each further half a million.

    With `svdpp` a user's row gains :math:`|R(u)|^{-1/2} \sum_{i \in R(u)} y_i`, and an
    item's :math:`|R(i)|^{-1/2} \sum_{u \in R(i)} x_u`, biases included, where R are the training
    interactions. The fitted rows, such as ``user_factors_``, include these sums, so that
    predictions take no longer. With a number for `alpha` the loss has the penalty above for the
    rows themselves and :math:`5 \alpha w_{ui} (\|y_i\|^2 + \|x_u\|^2)` for each rating. The
    terms y and x take eight steps an epoch, by the gradient of all batches since the step before,
    with momentum 0.9 and bounded steps. A fit with ``warm_start=True`` starts from the fitted
    rows and from terms of zero.

    A step moves only the users and items of its batch, except with an `optimizer`, which moves
    all. A user or item with many ratings in a batch takes a bounded step. It is 0.8 of the step to
    the minimum of the squared error in the batch, if nothing else moved.

    **Weights.** A row of weight 2 is not the same as two rows. SVD++ terms count a row once,
    whatever its weight, unless that is 0.

    References
    ----------
    Koren, Bell, Volinsky (2009), "Matrix Factorization Techniques for Recommender Systems",
    :doi:`10.1109/MC.2009.263`. For SVD++ terms: Koren (2008), "Factorization Meets the
    Neighborhood", :doi:`10.1145/1401890.1401944`, and Rendle, Zhang, Koren (2019), "On the
    Difficulty of Evaluating Baselines", :doi:`10.48550/arXiv.1905.01395`.

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
    """

    _state = {
        **BaseRatingRegressor._state,
        "penalties_": Optional(Part(LearnedPenalties)),
        "module_": Module(MatrixFactorization),
    }

    _parameter_constraints = {
        **BaseRatingRegressor._parameter_constraints,
        **TRAINING_CONSTRAINTS,
        "n_factors": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "biased": ["boolean"],
        "svdpp": ["boolean"],
        "init_std": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        n_factors: Whole | Auto = "auto",
        *,
        biased: bool = True,
        alpha: float | Auto = "auto",
        loss: Loss = "squared_error",
        quantile: float = 0.5,
        svdpp: bool = False,
        max_epochs: Whole = 15,
        lr: float | Auto = "auto",
        batch_size: Whole = 4096,
        optimizer: type[torch.optim.Optimizer] | None = None,
        init_std: float | Auto = "auto",
        early_stopping: bool | float | Auto = "auto",
        rating_scale: RatingScale | Auto | None = "auto",
        user: Column = "auto",
        item: Column = "auto",
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        device: Device = "cpu",
        random_state: RandomState = None,
        verbose: Whole = 0,
    ):
        self.n_factors = n_factors
        self.biased = biased
        self.alpha = alpha
        self.loss = loss
        self.quantile = quantile
        self.svdpp = svdpp
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.init_std = init_std
        self.early_stopping = early_stopping
        self.rating_scale = rating_scale
        self.user = user
        self.item = item
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _why_no_partial_fit(self):
        if self.svdpp:
            return (
                "svdpp=True has no partial_fit: each further rating would change the SVD++ terms "
                "of other users and items. Fit with warm_start=True, or set svdpp=False."
            )
        return None

    @property
    def _takes_chunks(self):
        return not self.svdpp

    def _new_module(self, rows):
        return MatrixFactorization(
            *n_ids(self),
            _n_factors(self),
            biased=self.biased,
            global_mean=rows.statistics.mean,
            scale=rows.statistics.scale,
            init_std=_init_std(self),
            sparse=self.optimizer is None,
            generator=rows.generator,
        )

    def _continued_module(self, previous, rows):
        check_unchanged(previous.module_, biased=self.biased)
        if _n_factors(self) != previous.module_.n_factors:  # "auto" may stand for the same number
            check_unchanged(previous.module_, n_factors=self.n_factors)
        module = converted_module(self, previous).grow(*n_ids(self), rows.generator)
        module.sparse = self.optimizer is None
        return module

    def _new_solver(self, plan):
        alpha: Any = self.alpha
        if alpha == "auto":
            alpha = None if self.biased else AUTO_ALPHA[bool(self.svdpp)]
        optimization = SGD
        if self.optimizer is not None:
            optimization = DENSE_GRADIENTS._replace(optimizer=self.optimizer)
            if self.svdpp:
                optimization = optimization._replace(auto_lr=lambda max_epochs: SVDPP_DENSE_LR)
        return replace(minibatch_solver(self, optimization, alpha, plan), svdpp=self.svdpp)


def _n_factors(model):
    if model.n_factors == "auto":
        return AUTO_N_FACTORS[bool(model.svdpp)]
    return int(model.n_factors)


def _init_std(model):
    if model.init_std != "auto":
        return model.init_std
    if model.optimizer is not None:
        return SMALL_START
    return min(0.08, max(SMALL_START, 0.7 / model.max_epochs**2))
