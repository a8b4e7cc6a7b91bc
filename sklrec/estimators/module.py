"""A network that the user wrote, as a scikit-learn regressor."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import deepcopy
from numbers import Integral, Real
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from sklrec._core.base import TRAINING_CONSTRAINTS, BaseRatingRegressor
from sklrec._core.fit import minibatch_solver
from sklrec._core.history_reader import HistoryReader
from sklrec._core.predict import predicted
from sklrec._core.readers import FeatureReader, PairReader, n_ids
from sklrec._data.checks import TIMESTAMP_KINDS, Interval, StrOptions
from sklrec._data.features.side_features import KnownFeatures, SideFeatures
from sklrec._data.histories import Histories
from sklrec._solvers.minibatch import Optimization
from sklrec._solvers.penalties import LearnedPenalties
from sklrec._solvers.rowwise import RowwiseAdam
from sklrec._utils.runtime import is_shared, own_random_state
from sklrec._utils.state.kinds import NUMBER, Array, Choice, Int, Maybe, Optional, Part
from sklrec._utils.state.networks import Network
from sklrec.modules._network_checks import check_network, scale_tables
from sklrec.modules._network_inputs import (
    check_forward,
    check_module,
    make_network,
    part_read_by,
)
from sklrec.modules._network_rating import NetworkRating

PREFIX = "module__"
READERS = {"pairs": PairReader(), "features": FeatureReader(), "histories": HistoryReader()}
# lr="auto".
AUTO_LR = 0.01
# Optimisers of torch that take sparse gradients.
SPARSE = torch.optim.SGD, torch.optim.Adagrad, torch.optim.SparseAdam
# Share of the learning rate in partial_fit, as for `DenseRecRegressor`.
FURTHER = 0.3


class ModuleRecRegressor(BaseRatingRegressor):
    """Rating model of any network."""

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
        "standardize": ["boolean"],
        "init_std": [Interval(Real, 0, None, closed="neither"), None],
        "max_len": [Interval(Integral, 1, None, closed="left")],
        "timestamp": [Interval(Integral, 0, None, closed="left"), str, None],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
    }

    def __init__(
        self,
        module,
        *,
        standardize=True,
        alpha="auto",
        max_epochs=10,
        lr="auto",
        batch_size=1024,
        optimizer=None,
        init_std=0.05,
        max_len=50,
        early_stopping="auto",
        rating_scale="auto",
        user=0,
        item=1,
        timestamp="auto",
        categorical_features="from_dtype",
        warm_start=False,
        callbacks=None,
        device="cpu",
        random_state=None,
        verbose=0,
        **parameters,
    ):
        self.module = module
        self.standardize = standardize
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
        for name, value in parameters.items():
            if not name.startswith(PREFIX):
                raise TypeError(
                    f"ModuleRecRegressor has no parameter {name}. Parameters of the module have "
                    f"the prefix {PREFIX}: {PREFIX}{name}."
                )
            setattr(self, name, value)

    def get_params(self, deep=True):
        """Get the parameters, with those of the module.

        Parameters
        ----------
        deep : bool, default=True
            Not used, because no parameter is an estimator.

        Returns
        -------
        dict
            The parameters by name.
        """
        return super().get_params(deep=False) | {
            name: value for name, value in vars(self).items() if name.startswith(PREFIX)
        }

    def set_params(self, **params):
        """Set parameters, those of the module as ``module__name=value``.

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

    def predict(self, X, *, history=None):
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
        del self.module_  # so that the reader is that of the class
        with own_random_state(torch.Generator(), "cpu"):
            rating = _new_rating(self, stored.global_mean, stored.scale, is_checked=False)
        self.module_ = stored.into(rating)

    def _new_module(self, rows):
        mean, scale = 0.0, 1.0
        if self.standardize:
            mean, scale = rows.statistics.mean, rows.statistics.scale
        with own_random_state(rows.generator, "cpu"):
            return _new_rating(self, mean, scale)

    def _continued_module(self, previous, rows):
        before = previous.module_
        if _sizes(self) == before.sizes:
            module = deepcopy(before)
        else:
            with own_random_state(rows.generator, "cpu"):
                new = _new_rating(self, before.global_mean.item(), before.scale.item())
            module = before.grow(new)
        if self.standardize:
            was, now = previous.rating_statistics_, self.rating_statistics_
            module.global_mean += now.mean - was.mean
            if was.variance == 0:
                module.scale.fill_(now.scale)
        return module

    def _new_solver(self, plan):
        optimizer, params = self.optimizer or torch.optim.Adam, {}
        if self.optimizer is None:
            if _is_sparse(self.module_):
                optimizer = RowwiseAdam
            else:
                params["fused"] = True  # the step of a table in one pass over it
        alpha = None if self.alpha == "auto" else self.alpha
        optimization = Optimization(optimizer, "mean", lambda _: AUTO_LR, params, FURTHER)
        return minibatch_solver(self, optimization, alpha, plan)


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


def _new_rating(model: Any, mean: float, scale: float, *, is_checked: bool = True) -> Any:
    """Make a network and the rating module around it."""
    sizes = _sizes(model)
    part = part_read_by(model.module)
    given: dict[str, Any] = dict(sizes)
    if part == "features":
        given["side_features"] = model.side_features_
    network = make_network(model.module, given, _parameters(model))
    arguments = check_forward(network, part, model.module)
    rating = NetworkRating(network, arguments, sizes, part, global_mean=mean, scale=scale)
    if not _takes_sparse(model):
        layers: list[Any] = [layer for layer in rating.modules() if hasattr(layer, "sparse")]
        for layer in layers:
            layer.sparse = False
    if is_checked or any(map(is_lazy, network.parameters())):
        check_network(rating, _side_shapes(sizes))
        if model.init_std is not None:
            scale_tables(rating, float(model.init_std))
    return rating


def _takes_sparse(model: Any) -> bool:
    """Whether the training can use sparse gradients."""
    if is_shared(model.device):  # processes exchange whole tables
        return False
    of_torch = (model.optimizer or RowwiseAdam).__module__.startswith("torch.optim")
    return not of_torch or issubclass(model.optimizer, SPARSE)


def _side_shapes(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Shape of a row of each kind of side feature that X has."""
    shapes: dict[str, tuple[int, ...]] = {
        name: (sizes[f"n_{name}"],) for name in ("numeric", "categorical") if sizes[f"n_{name}"]
    }
    if n := sizes["n_multi_valued"]:
        shapes["multi_valued"] = n, 2
    return shapes


def _is_sparse(rating: Any) -> bool:
    return any(getattr(layer, "sparse", False) for layer in rating.modules())
