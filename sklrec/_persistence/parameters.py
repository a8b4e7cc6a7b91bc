"""Parameters of estimators, and their settings for scikit-learn, in a model file."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator

from sklrec._persistence.parts import PartReader, PartWriter
from sklrec._persistence.plain import pack_plain, unpack_plain

OPTIMIZERS: dict[str, type] = {
    name: optimizer
    for name, optimizer in vars(torch.optim).items()
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)
}
N_KEYS = 624  # length of the state of the Mersenne Twister
METHODS = ("fit", "partial_fit", "predict", "transform", "inverse_transform", "score")


def write_parameters(part: PartWriter, estimator: BaseEstimator) -> None:
    """Write the parameters of an estimator, except callbacks, which are code."""
    for name, value in estimator.get_params(deep=False).items():
        try:
            if name != "callbacks":
                part.put(name, _pack(value))
        except TypeError as error:
            raise TypeError(
                f"{type(estimator).__name__} has the parameter {name}={value!r}, which cannot be "
                f"stored in a model file: {error}. Set it to a plain value, or use joblib.dump."
            ) from error


def read_parameters(part: PartReader, kind: type[BaseEstimator]) -> Any:
    """Make an unfitted estimator with the parameters of a file."""
    names = kind().get_params(deep=False).keys() - {"callbacks"}
    estimator = kind(**{name: _unpack(part, name) for name in names})
    estimator._validate_params()
    return estimator


def _pack(value: Any) -> Any:
    if isinstance(value, type):
        if OPTIMIZERS.get(value.__name__) is not value:
            raise TypeError("the only classes that it holds are the optimizers of torch.optim")
        return {"optimizer": value.__name__}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, np.random.RandomState):
        if value.get_state(legacy=False)["bit_generator"] != "MT19937":
            raise TypeError("the only random states that it holds are of the Mersenne Twister")
        _, keys, *others = value.get_state(legacy=True)
        return {"random state": [list(map(int, keys)), *others]}
    return pack_plain(value)


def _unpack(part: PartReader, name: str) -> Any:
    packed = part.any(name)
    if isinstance(packed, dict) and len(packed) == 1:
        ((kind, content),) = packed.items()
        if kind == "optimizer":
            return OPTIMIZERS[content]
        if kind == "device":
            return torch.device(content)
        if kind == "random state":
            keys, position, has_gauss, gauss = content
            if not (len(keys) == N_KEYS and 0 <= position <= N_KEYS):
                part.refuse(name, f"should have {N_KEYS} keys and the position of one of them")
            state = np.random.RandomState(0)
            state.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, gauss))
            return state
    return unpack_plain(packed)


def write_settings(part: PartWriter, estimator: BaseEstimator) -> None:
    """Write the settings of ``set_output``, ``set_fit_request`` and similar methods."""
    output = vars(estimator).get("_sklearn_output_config", {})
    part.put("output", output.get("transform"))
    requests = part.part("requests")
    if "_metadata_request" in vars(estimator):
        routing = estimator.get_metadata_routing()
        for name in _request_methods(estimator):
            requests.put(name, dict(getattr(routing, name).requests))


def read_settings(part: PartReader, estimator: Any) -> None:
    """Read the settings of ``set_output``, ``set_fit_request`` and similar methods."""
    output = part.choice("output", None, "default", "pandas", "polars")
    if output is not None:
        estimator.set_output(transform=output)
    requests = part.part("requests")
    for name in _request_methods(estimator):
        if requests.has(name):
            with sklearn.config_context(enable_metadata_routing=True):
                getattr(estimator, f"set_{name}_request")(**requests.value(name, dict))


def _request_methods(estimator: Any) -> list[str]:
    return [name for name in METHODS if hasattr(type(estimator), f"set_{name}_request")]
