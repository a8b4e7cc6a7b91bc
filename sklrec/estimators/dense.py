"""A dense net over embeddings as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import torch

from sklrec._core.base import TRAINING_CONSTRAINTS, BaseRatingRegressor
from sklrec._core.fit import check_unchanged, converted_module, minibatch_solver
from sklrec._core.readers import FeatureReader, n_ids
from sklrec._data.features.columns import N_BINS
from sklrec._data.features.side_features import KnownFeatures, SideFeatures
from sklrec._solvers.minibatch import Optimization
from sklrec._solvers.penalties import LearnedPenalties
from sklrec._solvers.rowwise import RowwiseAdam
from sklrec._utils.runtime import is_shared
from sklrec._utils.state.kinds import Array, Optional, Part
from sklrec._utils.state.modules import Module
from sklrec._utils.types import (
    Auto,
    Categories,
    Column,
    Device,
    Loss,
    RandomState,
    RatingScale,
    Whole,
)
from sklrec._utils.versions import Interval, StrOptions
from sklrec.estimators._factors import FactorsMixin
from sklrec.modules import DenseNet

# Learning rate of the layers, as a share of that of the embeddings. Every rating moves the layers,
# so that at the full rate they would fit the ratings before the products of embeddings do.
LAYERS_SHARE_OF_LR = 0.05
# lr="auto".
AUTO_LR = 0.015
# alpha="auto" without biases, whose fit would tell the variances.
AUTO_ALPHA = 0.1
# Share of the learning rate in partial_fit: a few ratings should move mainly their own rows.
FURTHER = 0.3
# Use row-wise Adam once all tables have this many rows for each rating of a batch. With fewer rows
# a step on all of them is as fast.
SPARSE_FROM = 16


class DenseRecRegressor(FactorsMixin, BaseRatingRegressor):
    r"""Dense net over embeddings of users, items and side features for rating prediction.

    A rating is predicted as

    .. math:: \hat r_{ui} = \mu + b_u + b_i + \langle p_u, q_i \rangle
              + \sum_s \langle p_u + q_i, e_s \rangle + f([p_u, q_i, e_1, e_2, \dots])

    with the global mean :math:`\mu`, the biases :math:`b`, the embeddings :math:`p, q` of the
    user and the item, and an embedding :math:`e_s` of each side feature. The net :math:`f` reads
    the concatenated embeddings through linear layers with ReLU between them. Every column of X
    other than users and items is a side feature.

    Adam learns all parameters together. It minimises the squared error, plus penalties on the
    embeddings and biases that a rating involves. The penalties are learned from the ratings, or
    set by `alpha`. The ratings are scaled to unit standard deviation. A user, item or value that
    `fit` did not see has the embedding 0 and the bias 0.

    A plain net over two concatenated embeddings is ``products=False, biased=False`` with
    ``hidden_layer_sizes=(H,)``, on an X of two columns.

    Parameters
    ----------
    n_factors : int, default=64
        Number of columns of all embeddings.
    hidden_layer_sizes : array-like of int, default=(32,)
        Number of units of each hidden layer of the net.
    products : bool, default=True
        Whether to add products of embeddings to the output of the net: user with item, and
        both of them with each side feature.
    biased : bool, default=True
        Whether the model has user and item biases.
    dropout : float, default=0.0
        Share of the net's inputs that each step of the training sets to zero at random.
    alpha : float or 'auto', default='auto'
        L2 penalty, in units of the ratings' standard deviation, on embeddings and biases, once
        for each rating. ``'auto'`` learns penalties and the start of the biases from the ratings,
        see Notes; if ``biased=False`` it is 0.1. A number starts all biases at 0.
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
    max_epochs : int, default=8
        Number of passes over the ratings.
    lr : float or 'auto', default='auto'
        Learning rate of the first batch. It falls linearly to 0 over `max_epochs`. The layers of
        the net learn at a twentieth of it, unless ``products=False``. ``'auto'`` is 0.015.
    batch_size : int, default=1024
        Ratings in a batch.
    optimizer : type, default=None
        A ``torch.optim.Optimizer`` subclass to train with instead of Adam.
    init_std : float, default=0.05
        Standard deviation of the embeddings' random start.
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
        Position or name of the column of item IDs. All other columns are side
        features.
    categorical_features : 'from_dtype' or array-like, default='from_dtype'
        Columns of numbers to treat as categories: positions, names, or a mask with one boolean
        for each column of X. Strings, booleans, other objects and the dtype category are always
        categories. A column of lists, tuples or sets, such as ``X["genres"].str.split("|")``,
        holds several categories in a row.
    warm_start : bool, default=False
        Whether `fit` continues with the model of the previous call. It then trains for
        `max_epochs` with a new schedule of the learning rate.
    callbacks : list, default=None
        Further skorch callbacks, or pairs of a name and a callback. They are not copied. A
        ``skorch.callbacks.LRScheduler`` replaces the linear fall of the learning rate.
        `sklrec.ModelCheckpoint` saves the model during the training.
    device : str or torch.device, default='cpu'
        Device of training and prediction. ``'accelerate'`` is the device that Accelerate gives
        to this process. The processes that ``accelerate launch`` or ``torchrun`` started then
        train together: each gets the same X and y, and each ends with the same model.
        `batch_size` counts the ratings of all processes together. Without a launcher the
        process trains alone. Needs ``pip install sklrec[distributed]``.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start, the order of the batches, dropout and the held-out part. The
        global random states of torch, numpy and Python stay as they are, except that ``None``
        takes the seed from numpy's, as in scikit-learn.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints a line for each epoch.

    Attributes
    ----------
    module_ : DenseNet
        The fitted ``nn.Module``.
    net_ : skorch.NeuralNetRegressor
        The skorch net that trained it, with its ``history``.
    encoder_ : IDEncoder
        Maps IDs to codes. The ID in place k of ``categories_`` has the code k + 1.
    side_features_ : SideFeatures
        The columns of side features by kind: ``numeric``, ``categorical`` and ``multi_valued``
        (lists), with their quantiles or values.
    known_features_ : KnownFeatures
        Latest side features of each user and each item, which `recommend` uses.
    user_factors_ : ndarray of shape (n_users, n_factors)
        The users' embeddings, in the order of ``encoder_.categories_[0]``. Dot products are in
        units of the ratings.
    item_factors_ : ndarray of shape (n_items, n_factors)
        The items' embeddings, in the order of ``encoder_.categories_[1]``.
    user_biases_ : ndarray of shape (n_users,)
        The users' biases, in units of the ratings. Only if ``biased=True``.
    item_biases_ : ndarray of shape (n_items,)
        The items' biases, in units of the ratings. Only if ``biased=True``.
    global_mean_ : float
        The constant :math:`\mu`: that of `BiasRegressor` if penalties were learned, else the
        weighted mean of the training ratings. Another `loss` adds what minimises it.
    penalties_ : LearnedPenalties or None
        Penalties that were learned from the ratings: ``user_penalty``, ``item_penalty`` and
        ``noise_variance`` as in `BiasRegressor`, ``loss``, the mean training loss of the
        biases, and ``n_ratings``, the number of ratings. ``None`` if `alpha` is a number or
        ``biased=False``.
    value_counts_ : ndarray of shape (n_values + 1,)
        Numbers of ratings with each value of the categorical and multi-valued side features that
        `fit` and `partial_fit` have seen. The first is for unknown and missing values.
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
    sklrec.modules.DenseNet : The module alone.
    MFRegressor : Biases and a product, without a net and without side features.
    BayesianMFRegressor : Gaussian factors over the same columns, with standard deviations.

    Notes
    -----
    **Learned penalties.** With ``alpha='auto'``, :math:`\mu` and the biases start as those of
    `BiasRegressor`. Its penalties :math:`c_u, c_i` and its variance of the noise come from
    leave-one-out errors. :math:`v` is that variance over the variance of the ratings. The training
    minimises

    .. math:: \sum_{u,i} e_{ui}^2 + c_u \sum_u b_u^2 + c_i \sum_i b_i^2
              + s \sum_j (0.07 n_j + 7) \|w_j\|^2 + 10^{-4} s n \|L\|^2

    where :math:`e` is the error over the standard deviation of the ratings. :math:`w_j` is the
    embedding of a user, an item or a value of a side feature with :math:`n_j` ratings.
    :math:`L` are the weights of the layers. A row with few ratings has a higher penalty for
    each of them than a row with many. :math:`s` is :math:`v`. After the second epoch it falls in
    proportion to the training error, if embeddings explain more than biases do. Penalties of
    `partial_fit` and warm starts follow the numbers of all ratings so far.

    **Updates.** `partial_fit` trains for one epoch with 0.3 of the learning rate, which is
    constant, and sets the moments of Adam to 0. The step of a row is multiplied by the square
    root of the share that the new ratings have among all its ratings. A few ratings therefore
    change little but the rows of new users and items.

    **Losses.** The notes of `MFRegressor` tell how other losses are minimised.

    **Side features** may be missing (NaN, None, NaT), in `fit` and in `predict`. A missing number
    has its own embedding, which `fit` learns from rows with missing numbers. A missing category,
    or an empty list, is treated as an unknown one. Numbers are replaced by their position among
    16 quantile bins of `fit`, so that their scale does not matter. Numbers outside the range of
    `fit` count as its lowest or its highest number. Datetimes and time differences are numbers.
    Datetimes without a time zone are read as UTC. `partial_fit` keeps the quantiles and adds new
    categories.

    **Recommending.** A side feature that has one value in all rows of each user belongs to the
    user. Otherwise, one that has one value in all rows of each item belongs to the item.
    `recommend` uses the values of users and items that `fit` or `partial_fit` saw last, or those
    of a table of `candidates`, and treats all other side features as missing. If those matter,
    rate the candidates with `predict`.

    **Many users and items.** Row-wise Adam takes over when users, items and values of side
    features number more than 16 for each rating of a batch (16,384 by default). A step then
    moves only the rows of its batch, so that its cost does not grow with the catalogue. Momentum
    of several steps is applied at once. With an `optimizer`, each step moves all rows.

    Ctrl-C during the training ends `fit` with a KeyboardInterrupt. The estimator then holds the
    model of the steps so far, and a warning says so.

    References
    ----------
    He, Liao, Zhang, Nie, Hu, Chua (2017), "Neural Collaborative Filtering",
    :doi:`10.1145/3038912.3052569`.

    Rendle (2010), "Factorization Machines", :doi:`10.1109/ICDM.2010.127`.

    Gorishniy, Rubachev, Babenko (2022), "On Embeddings for Numerical Features in Tabular Deep
    Learning", :doi:`10.48550/arXiv.2203.05556`.

    Examples
    --------
    >>> from sklrec import DenseRecRegressor
    >>> from sklrec.datasets import make_ratings
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> X["genres"] = [["drama", "war"] if item % 3 else ["comedy"] for item in X["item"]]
    >>> X["weekend"] = X["timestamp"] // 86400 % 7 > 4
    >>> dense = DenseRecRegressor(n_factors=8, random_state=0)
    >>> dense.fit(X, y).predict(X[:3]).shape
    (3,)
    >>> dense.side_features_
    <SideFeatures numeric=['timestamp'], categorical=['weekend'], multi_valued=['genres']>
    """

    _reader = FeatureReader()
    _takes_accelerate = True

    _state = {
        **BaseRatingRegressor._state,
        "penalties_": Optional(Part(LearnedPenalties)),
        "side_features_": Part(SideFeatures, lambda side: side.lengths),
        "value_counts_": Array("int64", ("n_values+1",), below=2**62),
        "known_features_": Part(KnownFeatures),
        "module_": Module(DenseNet),
    }

    _parameter_constraints = {
        **BaseRatingRegressor._parameter_constraints,
        **TRAINING_CONSTRAINTS,
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like"],
        "products": ["boolean"],
        "biased": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "init_std": [Interval(Real, 0, None, closed="neither")],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
    }

    def __init__(
        self,
        n_factors: Whole | Auto = 64,
        hidden_layer_sizes: Iterable[Whole] = (32,),
        *,
        products: bool = True,
        biased: bool = True,
        dropout: float = 0.0,
        alpha: float | Auto = "auto",
        loss: Loss = "squared_error",
        quantile: float = 0.5,
        max_epochs: Whole = 8,
        lr: float | Auto = "auto",
        batch_size: Whole = 1024,
        optimizer: type[torch.optim.Optimizer] | None = None,
        init_std: float = 0.05,
        early_stopping: bool | float | Auto = "auto",
        rating_scale: RatingScale | Auto | None = "auto",
        user: Column = "auto",
        item: Column = "auto",
        categorical_features: Categories = "from_dtype",
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        device: Device = "cpu",
        random_state: RandomState = None,
        verbose: Whole = 0,
    ):
        self.n_factors = n_factors
        self.hidden_layer_sizes = hidden_layer_sizes
        self.products = products
        self.biased = biased
        self.dropout = dropout
        self.alpha = alpha
        self.loss = loss
        self.quantile = quantile
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.init_std = init_std
        self.early_stopping = early_stopping
        self.rating_scale = rating_scale
        self.user = user
        self.item = item
        self.categorical_features = categorical_features
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _check_state(self):
        names = {column.name for column in self.side_features_.columns}
        if names != set(self.known_features_.names):
            raise ValueError("the known features have other columns than the side features")

    def _new_module(self, rows):
        side = self.side_features_
        return DenseNet(
            *n_ids(self),
            int(self.n_factors),
            _layer_sizes(self),
            products=self.products,
            biased=self.biased,
            dropout=self.dropout,
            n_numeric=len(side.numeric),
            n_bins=N_BINS,
            n_categorical=len(side.categorical),
            n_multi_valued=len(side.multi_valued),
            n_values=side.n_values,
            global_mean=rows.statistics.mean,
            scale=rows.statistics.scale,
            init_std=self.init_std,
            sparse=_takes_sparse_gradients(self),
            generator=rows.generator,
        )

    def _continued_module(self, previous, rows):
        wanted = {name: getattr(self, name) for name in ("n_factors", "products", "biased")}
        check_unchanged(previous.module_, **wanted, hidden_layer_sizes=_layer_sizes(self))
        module = converted_module(self, previous)
        module.grow(*n_ids(self), self.side_features_.n_values, rows.generator)
        module.sparse = _takes_sparse_gradients(self)
        module.dropout.p = self.dropout
        return module

    def _new_solver(self, plan):
        params: dict[str, Any] = {}
        sparse = _takes_sparse_gradients(self)
        if self.optimizer is None and not sparse:
            params["fused"] = True  # the step of a table in one pass over it
        if self.products:
            lr = AUTO_LR if self.lr == "auto" else self.lr
            params["param_groups"] = [("layers.*", {"lr": LAYERS_SHARE_OF_LR * lr})]
        optimizer = self.optimizer or (RowwiseAdam if sparse else torch.optim.Adam)
        alpha: Any = self.alpha
        if alpha == "auto":
            alpha = None if self.biased else AUTO_ALPHA
        optimization = Optimization(optimizer, "mean", lambda _: AUTO_LR, params, FURTHER)
        return minibatch_solver(self, optimization, alpha, plan)


def _takes_sparse_gradients(model):
    n_rows = sum(n_ids(model)) + model.side_features_.n_values
    is_sparse = model.optimizer is None and n_rows > SPARSE_FROM * int(model.batch_size)
    return is_sparse and not is_shared(model.device)  # processes exchange whole tables


def _layer_sizes(model):
    sizes = model.hidden_layer_sizes
    for size in sizes:
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(
                "hidden_layer_sizes must hold integers of at least 1, such as (32,) or "
                f"(64, 32), got {sizes!r}."
            )
    return tuple(int(size) for size in sizes)
