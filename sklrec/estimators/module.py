"""A network that the user wrote, as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from sklrec._core.base import TRAINING_CONSTRAINTS, BaseRatingRegressor
from sklrec._core.fit import minibatch_solver
from sklrec._core.history_reader import HistoryReader
from sklrec._core.predict import predicted
from sklrec._core.readers import FeatureReader, PairReader, n_ids
from sklrec._data.checks import TIMESTAMP_KINDS
from sklrec._data.features.side_features import KnownFeatures, SideFeatures
from sklrec._data.histories import Histories
from sklrec._solvers.epochs import Chooser
from sklrec._solvers.minibatch import Optimization
from sklrec._solvers.penalties import LearnedPenalties
from sklrec._solvers.rowwise import RowwiseAdam
from sklrec._utils.runtime import is_shared, own_random_state
from sklrec._utils.state.kinds import NUMBER, Array, Choice, Int, Maybe, Optional, Part
from sklrec._utils.state.networks import Network
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
from sklrec.modules._network_checks import check_network, scale_tables
from sklrec.modules._network_inputs import check_forward, check_module, make_network, part_read_by
from sklrec.modules._network_rating import NetworkRating

PREFIX = "module__"
READERS = {"pairs": PairReader(), "features": FeatureReader(), "histories": HistoryReader()}
# lr="auto".
AUTO_LR = 0.01
# Optimisers of torch that take sparse gradients.
SPARSE = torch.optim.SGD, torch.optim.Adagrad, torch.optim.SparseAdam
# max_epochs="auto": the largest number.
LARGEST_EPOCHS = 20
# batch_size="auto": number of batches in an epoch, and bounds of their size.
BATCHES, LEAST_BATCH, LARGEST_BATCH = 64, 64, 1024
# Share of the learning rate in partial_fit, as for `DenseRecRegressor`.
FURTHER = 0.3


class ModuleRecRegressor(BaseRatingRegressor):
    r"""Rating model of a network of your own.

    `module` is an ``nn.Module`` that predicts a rating from the codes of a user and an item. The
    estimator encodes IDs, makes the network and trains it. It does all that other rating models
    do: `predict` for unknown users and items, `recommend`, `partial_fit` with new users and items,
    early stopping, saving, export to ONNX.

    .. code-block:: python

        class MyNetwork(nn.Module):
            def __init__(self, n_users, n_items, n_factors=20):
                super().__init__()
                self.users = nn.Embedding(n_users + 1, n_factors)
                self.items = nn.Embedding(n_items + 1, n_factors)

            def forward(self, users, items):
                return (self.users(users) * self.items(items)).sum(1)

    **Constructor.** It is called with ``n_users`` and ``n_items``, the numbers of known users and
    items, and with the parameters that are set as ``module__name=value``. The codes of known IDs
    are 1 to n. Code 0 stands for unknown IDs, so that tables need one row more. If its signature
    has ``side_features`` or ``max_len``, it gets them too, see Notes.

    **forward.** It gets ``users`` and ``items`` by these names, as tensors of shape (n,), and
    returns the predictions of shape (n,) or (n, 1). A third argument ``features`` or ``histories``
    reads side features or the history of each user.

    **Output.** The rating is

    .. math:: \hat r_{ui} = \mu + b_u + b_i + \sigma\, f(u, i)

    where f is the output of the network, :math:`\mu, b_u, b_i` are the mean and the biases of
    `BiasRegressor`, and :math:`\sigma` is the standard deviation of the ratings. The network
    learns what the biases do not explain. `output` leaves out the biases, or all of it.

    Parameters
    ----------
    module : type or callable
        An ``nn.Module`` subclass, or a function that returns a module.
    output : {'auto', 'residual', 'standardized', 'rating'}, default='auto'
        Quantity that the network predicts. ``'residual'`` is the rating minus the mean and the
        biases, over the standard deviation. ``'standardized'`` is the rating minus the mean, over
        the standard deviation. ``'auto'`` trains a copy for each on nine tenths of the ratings,
        and takes the one with the lower error on the others. With ``'rating'`` it is the rating
        itself, such as 1 plus 4 times a sigmoid.
    loss : str or callable, default='squared_error'
        Loss that the training minimises: ``'squared_error'``, ``'absolute_error'``, ``'huber'``,
        ``'quantile'`` or a function of predictions and ratings, as in `MFRegressor`.
    quantile : float, default=0.5
        The quantile of ``loss='quantile'``.
    alpha : float or 'auto', default='auto'
        L2 penalty, in units of the ratings' standard deviation, on the rows of users, items and
        side features that a rating reads. ``'auto'`` learns penalties of rows and layers from the
        ratings, see Notes.
    max_epochs : int or 'auto', default='auto'
        Number of passes over the ratings. ``'auto'`` chooses it, up to 20: a copy is first trained
        on nine tenths of the ratings, and its error on the others tells the best number. With
        validation data, early stopping decides.
    lr : float or 'auto', default='auto'
        Learning rate of the first batch. It falls linearly to 0 over `max_epochs`. ``'auto'`` is
        0.01. If the training diverges with ``'auto'``, it starts again with half the rate.
    batch_size : int or 'auto', default='auto'
        Ratings in a batch. With histories, the number of interactions in all histories of a
        batch. ``'auto'`` makes about 64 batches, of 64 to 1024 ratings.
    optimizer : type, default=None
        A ``torch.optim.Optimizer`` subclass. None is Adam, in a form that moves only the rows of
        the batch if the network has embeddings with ``sparse=True``.
    init_std : float or None, default=0.01
        Tables of users, items and values whose start has a larger standard deviation are scaled
        to this one. ``nn.Embedding`` starts with 1, which rows with few ratings cannot reduce
        enough. None keeps the start, for example of tables that were trained before.
    max_len : int, default=50
        Largest number of interactions that `histories` holds for a prediction.
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
        Position or name of the column of item IDs.
    timestamp : int, str, 'auto' or None, default='auto'
        Position or name of the column of timestamps. Only networks with histories read it.
        ``'auto'`` is the column named ``timestamp``, if there is one. ``None`` takes the order of
        the rows as time order.
    categorical_features : 'from_dtype' or array-like, default='from_dtype'
        Positions or names of the side features to read as categories, or one boolean for each
        column, as in `DenseRecRegressor`.
    warm_start : bool, default=False
        Whether `fit` continues with the model of the previous call.
    callbacks : list, default=None
        Further skorch callbacks, or pairs of a name and a callback. They are not copied. A
        ``skorch.callbacks.LRScheduler`` replaces the linear fall of the learning rate.
    device : str or torch.device, default='cpu'
        Device of training and prediction, such as ``'cpu'`` or ``'cuda'``.
    random_state : int, RandomState instance or None, default=None
        Seed of the random start, the order of the batches and the held-out part. The global
        random states of torch, numpy and Python stay as they are, except that ``None`` takes the
        seed from numpy's, as in scikit-learn.
    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints a line for each epoch.
    **module__ : dict
        Arguments of the module, as ``module__name=value``.

    Attributes
    ----------
    module_ : sklrec.modules.NetworkRating
        The fitted rating module. ``module_.network`` is your network.
    net_ : skorch.NeuralNetRegressor
        The skorch net that trained it, with its ``history``.
    output_ : str
        Quantity that the network predicts: 'residual', 'standardized' or 'rating'.
    encoder_ : IDEncoder
        Maps IDs to codes. The ID in place k of ``categories_`` has the code k + 1.
    side_features_ : SideFeatures
        The columns of side features by kind. Only if the network reads them.
    value_counts_ : ndarray of shape (n_values + 1,)
        Numbers of ratings with each value of side features. Only if the network reads them.
    known_features_ : KnownFeatures
        Latest side features of each user and each item. Only if the network reads them.
    histories_ : Histories
        Interactions by user, in time order. Only if the network reads histories.
    timestamp_index_ : int or None
        Position of the column of timestamps. Only if the network reads histories.
    timestamp_kind_ : {'numbers', 'datetimes', 'datetimes with a time zone'} or None
        Kind of the timestamps. Only if the network reads histories.
    time_unit_ : float
        Median time between ratings of a user. Only if the network reads histories.
    penalties_ : LearnedPenalties or None
        Penalties that were learned from the ratings, as in `MFRegressor`. None with a number for
        `alpha`.
    global_mean_ : float
        The rating of the output 0.
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
        Mean loss of each epoch's batches, each before its step, without the penalty.
    validation_curve_ : list of float
        Mean loss on the validation data after each epoch. Only with validation data.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Pairs of a user code and an item code that `fit` and `partial_fit` have seen.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if all are strings.

    See Also
    --------
    MFRegressor : Matrix factorisation, faster than as a network of your own.
    sklrec.load : Needs the class of the network: ``custom_objects={"MyNetwork": MyNetwork}``.

    Notes
    -----
    **Unknown IDs.** In training, 2 % of the codes become 0, so that row 0 learns the
    prediction for an average user or item. The chance of a rating falls with the number of ratings
    of the user or item, so that each user or item has the same expected number of such ratings.
    `partial_fit` starts the rows of new IDs there. IDs whose ratings were all held out get this
    row, too.

    **Penalties.** A small trial before the training finds the tables: parameters with one row for
    each code, of which a rating reads one row. With ``alpha='auto'`` a row with n ratings has the
    penalty :math:`s (0.07\, n + 7)`. A table of one column is taken as biases, with the penalties
    of `BiasRegressor`, ten times as large with ``output='residual'``. All other weights with two
    or more dimensions have :math:`10^{-4} s` for each rating. The strength :math:`s` starts at the
    variance of the noise around the biases, and falls with the root of the training error, as in
    `DenseRecRegressor`.

    **Side features.** ``forward(users, items, features)`` gets a dict of tensors. ``numeric`` of
    shape (n, n_numeric) holds quantile positions from -1 to 1, NaN if missing. ``categorical`` of
    shape (n, n_categorical) and ``multi_valued`` of shape (n, n_multi_valued, max_values) hold
    codes of values, 0 if unknown or padding. The constructor gets ``side_features``, with the
    names of the columns in ``side_features.numeric`` and so on. A table of values needs
    ``side_features.n_values + 1`` rows.

    **Histories.** ``forward(users, items, histories)`` gets the latest interactions of the user
    that are strictly earlier than each rating, at most `max_len`. ``histories.items``,
    ``histories.ratings`` and ``histories.gaps`` have the shape (n, max_len), with zeros in front.
    ``histories.lengths`` has the shape (n,). The ratings are in units of the output. Gaps are
    times since the interaction before, on a logarithmic scale. Of interactions of the same user,
    item and time (without timestamps: of the same user and item), a history holds the last one.

    **Recommending.** `recommend` calls ``forward`` for all pairs of a user and an item. It is much
    faster if the network has the methods ``user_vectors(users)`` and ``item_vectors(items)``, of
    shape (n, k), whose dot product is the output of ``forward``. `similar_items` compares these
    vectors, or else the rows of the widest table.

    **Functions.** A function that returns a network needs the argument ``side_features`` or
    ``max_len``, or the class as return annotation, if the network reads features or histories.

    Networks that read histories do not take ratings in chunks.

    Examples
    --------
    >>> from torch import nn
    >>> from sklrec import ModuleRecRegressor
    >>> from sklrec.datasets import make_ratings
    >>> class MyNetwork(nn.Module):
    ...     def __init__(self, n_users, n_items, n_factors=20):
    ...         super().__init__()
    ...         self.users = nn.Embedding(n_users + 1, n_factors)
    ...         self.items = nn.Embedding(n_items + 1, n_factors)
    ...
    ...     def forward(self, users, items):
    ...         return (self.users(users) * self.items(items)).sum(1)
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> model = ModuleRecRegressor(MyNetwork, module__n_factors=8, random_state=0).fit(X, y)
    >>> model.predict(X[:3]).shape
    (3,)
    >>> model.recommend([7], n_items=3).columns.to_list()
    ['user', 'item', 'rank', 'score']
    """

    _takes_accelerate = True
    _free_parameters = PREFIX
    # Of a `HistoryReader`, which also reads padded sequences for another estimator.
    input = "interactions"

    _state = {
        **BaseRatingRegressor._state,
        "penalties_": Optional(Part(LearnedPenalties)),
        "side_features_": Maybe(Part(SideFeatures, lambda side: side.lengths)),
        "value_counts_": Maybe(Array("int64", ("n_values+1",), below=2**62)),
        "known_features_": Maybe(Part(KnownFeatures)),
        "timestamp_index_": Maybe(Optional(Int(below="n_columns"))),
        "timestamp_kind_": Maybe(Choice(*TIMESTAMP_KINDS, None)),
        "histories_": Maybe(Part(Histories)),
        "time_unit_": Maybe(NUMBER),
        "module_": Network(),
    }

    _parameter_constraints = {
        **BaseRatingRegressor._parameter_constraints,
        **TRAINING_CONSTRAINTS,
        "output": [StrOptions({"auto", "residual", "standardized", "rating"})],
        "init_std": [Interval(Real, 0, None, closed="neither"), None],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_len": [Interval(Integral, 1, None, closed="left")],
        "timestamp": [Interval(Integral, 0, None, closed="left"), str, None],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
    }

    def __init__(
        self,
        module: Callable[..., torch.nn.Module],
        *,
        output: Literal["auto", "residual", "standardized", "rating"] = "auto",
        loss: Loss = "squared_error",
        quantile: float = 0.5,
        alpha: float | Auto = "auto",
        max_epochs: Whole | Auto = "auto",
        lr: float | Auto = "auto",
        batch_size: Whole | Auto = "auto",
        optimizer: type[torch.optim.Optimizer] | None = None,
        init_std: float | None = 0.01,
        max_len: Whole = 50,
        early_stopping: bool | float | Auto = "auto",
        rating_scale: RatingScale | Auto | None = "auto",
        user: Column = "auto",
        item: Column = "auto",
        timestamp: Column | None = "auto",
        categorical_features: Categories = "from_dtype",
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        device: Device = "cpu",
        random_state: RandomState = None,
        verbose: Whole = 0,
        **module__: Any,
    ):
        self.module = module
        self.output = output
        self.loss = loss
        self.quantile = quantile
        self.alpha = alpha
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.init_std = init_std
        self.max_len = max_len
        self.early_stopping = early_stopping
        self.rating_scale = rating_scale
        self.user = user
        self.item = item
        self.timestamp = timestamp
        self.categorical_features = categorical_features
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        # The name of this argument has the prefix, because a check of scikit-learn passes it too.
        for name, value in module__.items():
            if not name.startswith(PREFIX):
                raise TypeError(
                    f"ModuleRecRegressor has no parameter {name}. Parameters of the module have "
                    f"the prefix {PREFIX}: {PREFIX}{name}."
                )
            setattr(self, name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of the estimator and of the module.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the callbacks as ``callbacks__name``, and their parameters as
            ``callbacks__name__parameter``.

        Returns
        -------
        dict
            The parameters by name.
        """
        return super().get_params(deep) | {
            name: value for name, value in vars(self).items() if name.startswith(PREFIX)
        }

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the estimator, and of the module as ``module__name=value``.

        Parameters of callbacks are ``callbacks__name__parameter=value``, as in other estimators.

        Parameters
        ----------
        **params : dict
            The parameters by name.

        Returns
        -------
        ModuleRecRegressor
            This estimator.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        own = {name: value for name, value in params.items() if not name.startswith(PREFIX)}
        super().set_params(**own)
        for name in params.keys() - own.keys():
            setattr(self, name, params[name])
        return self

    def predict(self, X: Any, *, history: tuple[Any, Any] | None = None) -> np.ndarray:
        """Predict the ratings of interactions.

        An unknown user or item gets the prediction for an average one.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as in `fit`.
        history : tuple of (X_past, y_past), default=None
            For a network that reads histories: interactions and ratings to read instead of those
            of `fit`, as in ``SequenceRatingRegressor.predict``.

        Returns
        -------
        ndarray of shape (n_samples,)
            The ratings as float64, inside the rating scale.

        Raises
        ------
        ValueError
            If X or the history is not valid, or if the network reads no histories.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than the IDs that `fit` saw.
        """
        return predicted(self, X, history)

    @property
    def output_(self) -> str:
        """Quantity that the network predicts: 'residual', 'standardized' or 'rating'."""
        if self.module_.has_biases:
            return "residual"
        return "rating" if self.output == "rating" else "standardized"

    @property
    def _reader(self):
        if "module_" in vars(self):
            return READERS[self.module_.part]
        check_module(self.module, _parameters(self))
        return READERS[part_read_by(self.module)]

    @property
    def _takes_chunks(self):
        return self._reader is READERS["pairs"]

    def _check_state(self):
        stored = self.module_
        del self.module_
        check_module(self.module, _parameters(self))
        with own_random_state(torch.Generator(), "cpu"):
            rating = _new_rating(
                self,
                stored.global_mean,
                stored.scale,
                has_biases="user_biases" in stored.tensors,
                is_checked=False,
            )
        self.module_ = stored.into(rating)

    def _new_module(self, rows):
        mean, scale = 0.0, 1.0
        if self.output != "rating":
            mean, scale = rows.statistics.mean, rows.statistics.scale
        with own_random_state(rows.generator, "cpu"):
            return _new_rating(self, mean, scale, has_biases=self.output in ("auto", "residual"))

    def _continued_module(self, previous, rows):
        before = previous.module_
        if _sizes(self) == before.sizes:
            module = deepcopy(before)
        else:
            with own_random_state(rows.generator, "cpu"):
                mean, scale = before.global_mean.item(), before.scale.item()
                new = _new_rating(self, mean, scale, has_biases=before.has_biases)
            module = before.grow(new)
        if self.output != "rating":
            was, now = previous.rating_statistics_, self.rating_statistics_
            if was.variance == 0:
                module.scale.fill_(now.scale)
            if not module.has_biases:  # otherwise they change together with the mean
                module.global_mean += now.mean - was.mean
        return module

    def _new_solver(self, plan):
        optimizer = self.optimizer or torch.optim.Adam
        params: dict[str, Any] = {}
        if self.optimizer is None:
            if any(getattr(layer, "sparse", False) for layer in self.module_.modules()):
                optimizer = RowwiseAdam
            else:
                params["fused"] = True  # the step of a table in one pass over it
        alpha = None if self.alpha == "auto" else self.alpha
        optimization = Optimization(optimizer, "mean", lambda _: AUTO_LR, params, FURTHER)
        sizes: dict[str, Any] = {}
        if self.batch_size == "auto":
            n_ratings = self.rating_statistics_.weight
            sizes["batch_size"] = min(max(n_ratings / BATCHES, LEAST_BATCH), LARGEST_BATCH)
        if self.max_epochs == "auto":
            sizes["max_epochs"] = LARGEST_EPOCHS
        solver = minibatch_solver(self, optimization, alpha, plan, **sizes)
        chooses = {
            "chooses_epochs": self.max_epochs == "auto" and not plan.stops_early,
            "chooses_output": self.output == "auto" and plan.previous is None,
        }
        if plan.is_partial or not any(chooses.values()):
            return solver
        return Chooser(solver, **chooses)


def _parameters(model: Any) -> dict[str, Any]:
    """Parameters of the module, without the prefix."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in vars(model).items()
        if name.startswith(PREFIX)
    }


def _sizes(model: Any) -> dict[str, int]:
    """Sizes by the names of a network's arguments."""
    n_users, n_items = n_ids(model)
    side = getattr(model, "side_features_", None)
    sizes = {"n_users": n_users, "n_items": n_items, "max_len": int(model.max_len)}
    for name in ("numeric", "categorical", "multi_valued"):
        sizes[f"n_{name}"] = 0 if side is None else len(getattr(side, name))
    return sizes | {"n_values": 0 if side is None else side.n_values}


def _new_rating(
    model: Any, mean: float, scale: float, *, has_biases: bool, is_checked: bool = True
) -> Any:
    """Make a network and the rating module around it."""
    sizes = _sizes(model)
    part = part_read_by(model.module)
    features = {"side_features": model.side_features_} if part == "features" else {}
    network = make_network(model.module, sizes | features, _parameters(model))
    arguments = check_forward(network, part, model.module)
    rating = NetworkRating(
        network, arguments, sizes, part, has_biases=has_biases, global_mean=mean, scale=scale
    )
    if not _takes_sparse(model):
        layers: list[Any] = [layer for layer in rating.modules() if hasattr(layer, "sparse")]
        for layer in layers:
            layer.sparse = False
    if is_checked or any(map(is_lazy, network.parameters())):
        check_network(rating)
        if model.init_std is not None:
            scale_tables(rating, float(model.init_std))
    return rating


def _takes_sparse(model: Any) -> bool:
    """Whether the training can use sparse gradients."""
    if is_shared(model.device):  # processes exchange whole tables
        return False
    of_torch = (model.optimizer or RowwiseAdam).__module__.startswith("torch.optim")
    return not of_torch or issubclass(model.optimizer, SPARSE)
