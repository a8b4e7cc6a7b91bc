"""Parameters of estimators, and what scikit-learn keeps beside them."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator

from sklrec._persistence.parts import PartReader, PartWriter
from sklrec._persistence.plain import pack_plain, unpack_plain
from sklrec._utils.warnings import warn

OPTIMIZERS: dict[str, type] = {
    name: optimizer
    for name, optimizer in vars(torch.optim).items()
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)
}
# What numpy's Mersenne Twister consists of.
N_KEYS = 624


def write_parameters(part: PartWriter, estimator: BaseEstimator) -> None:
    """Write an estimator's parameters.

    Parameters
    ----------
    part : PartWriter
        Where to.
    estimator : estimator instance
        The estimator.

    Raises
    ------
    TypeError
        If one cannot be stored.

    Warns
    -----
    UserWarning
        If there are callbacks, which are not stored.
    """
    for name, value in estimator.get_params(deep=False).items():
        try:
            part.put(name, _pack(part, name, value))
        except TypeError as error:
            raise TypeError(
                f"{type(estimator).__name__} has the parameter {name}={value!r}, which cannot be "
                f"stored in a model file: {error}. Set it to a plain value, or use joblib.dump."
            ) from error


def _pack(part: PartWriter, name: str, value: Any) -> Any:
    if name == "callbacks":
        if value:
            warn(
                f"callbacks={value!r} are code, which a model file does not hold: the loaded "
                "estimator will have callbacks=None.",
                UserWarning,
            )
        return None if value is None or value else []
    if isinstance(value, type):
        if OPTIMIZERS.get(value.__name__) is not value:
            raise TypeError("of classes it holds only the optimizers of torch.optim")
        return {"optimizer": value.__name__}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, np.random.RandomState):
        state: Any = value.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise TypeError("of random states it holds those of the Mersenne Twister")
        part.array(f"{name}.key", state["state"]["key"])
        numbers = int(state["state"]["pos"]), int(state["has_gauss"])
        return {"random state": [*numbers, float(state["gauss"])]}
    return pack_plain(value)


def read_parameters(part: PartReader, kind: type[BaseEstimator]) -> Any:
    """Make an unfitted estimator with the parameters that `write_parameters` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.
    kind : type
        The estimator's class.

    Returns
    -------
    estimator instance
        The estimator.

    Raises
    ------
    ValueError
        If parameters are not those of the class, or not valid.
    """
    names = kind().get_params(deep=False)
    estimator = kind(**{name: _unpack(part, name) for name in names})
    estimator._validate_params()
    return estimator


def _unpack(part: PartReader, name: str) -> Any:
    packed = part.any(name)
    if isinstance(packed, dict) and len(packed) == 1:
        (kind, content), *_ = packed.items()
        if kind == "optimizer":
            if not isinstance(content, str) or content not in OPTIMIZERS:
                part.refuse(name, "should be one of the optimizers of torch.optim")
            return OPTIMIZERS[content]
        if kind == "device":
            return torch.device(content if isinstance(content, str) else "")
        if kind == "random state":
            return _unpack_random_state(part, name, content)
    if name == "callbacks" and packed not in (None, []):
        part.refuse(name, "should be null")
    return unpack_plain(packed)


def _unpack_random_state(part: PartReader, name: str, content: Any) -> np.random.RandomState:
    keys = part.array(f"{name}.key", "uint32", (N_KEYS,))
    if not isinstance(content, list) or [type(n) for n in content] != [int, int, float]:
        part.refuse(name, "should have a position and a Gaussian number")
    position, has_gauss, gauss = content
    if not (0 <= position <= N_KEYS and has_gauss in (0, 1) and np.isfinite(gauss)):
        part.refuse(name, "should have a position and a Gaussian number")
    state = np.random.RandomState(0)
    state.set_state(("MT19937", keys, position, has_gauss, gauss))
    return state


def write_settings(part: PartWriter, estimator: BaseEstimator) -> None:
    """Write what ``set_output`` and ``set_fit_request`` and its like set.

    Parameters
    ----------
    part : PartWriter
        Where to.
    estimator : estimator instance
        The estimator.
    """
    output = vars(estimator).get("_sklearn_output_config")
    part.put("output", None if output is None else output.get("transform"))
    requests = part.part("requests")
    if "_metadata_request" in vars(estimator):
        routing = estimator.get_metadata_routing()
        for name in _request_methods(estimator):
            requests.put(name, dict(getattr(routing, name).requests))


def read_settings(part: PartReader, estimator: Any) -> None:
    """Set what `write_settings` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.
    estimator : estimator instance
        The estimator.
    """
    output = part.choice("output", None, "default", "pandas", "polars")
    if output is not None:
        if not hasattr(estimator, "set_output"):
            part.refuse("output", f"should be null for {type(estimator).__name__}")
        estimator.set_output(transform=output)
    requests = part.part("requests")
    for name in _request_methods(estimator):
        if not requests.has(name):
            continue
        wanted = requests.value(name, dict)
        if not all(type(value) in (bool, str, type(None)) for value in wanted.values()):
            requests.refuse(name, "should hold booleans, strings and null")
        with sklearn.config_context(enable_metadata_routing=True):
            getattr(estimator, f"set_{name}_request")(**wanted)


def _request_methods(estimator: Any) -> list[str]:
    methods = ("fit", "partial_fit", "predict", "transform", "inverse_transform", "score")
    return [name for name in methods if hasattr(type(estimator), f"set_{name}_request")]
