"""Names of the cases, and their translation for an older checkout."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from skorch.callbacks import LRScheduler

IDS = ["user", "item"]

# --- Translation: what an older checkout calls the things that cases name in today's words


def is_old(sklrec: Any) -> bool:
    """Whether the checkout has the names that `TRANSLATED` translates to."""
    return not hasattr(sklrec, "BayesianMFRegressor")


def old_training(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of the training loop."""
    params = dict(params)
    if "svdpp" in params:
        params["implicit_features"] = params.pop("svdpp")
    share = params.get("early_stopping")
    if isinstance(share, float):
        params |= {"early_stopping": True, "validation_fraction": share}
    callbacks = params.pop("callbacks", [])
    if kept := [callback for callback in callbacks if not isinstance(callback, LRScheduler)]:
        params["callbacks"] = kept
    if len(kept) < len(callbacks):  # the only schedule here is `constant_rate`
        params["lr_schedule"] = "constant"
    return params


def old_bayesian(sklrec: Any, *, svdpp: bool = False, side_features: Any = None, **params) -> Any:
    # It reads all columns: `visible` removes those that side_features leaves out.
    return sklrec.BayesianFMRegressor(implicit_features=svdpp, **params)


# From today's names to functions that take the package and what the case passes.
TRANSLATED: dict[str, Callable[..., Any]] = {
    "MFRegressor": lambda lib, **p: lib.MFRegressor(solver="sgd", **old_training(p)),
    "BayesianMFRegressor": old_bayesian,
    "DenseRecRegressor": lambda lib, **p: lib.DenseRecRegressor(**old_training(p)),
    "SequenceRatingRegressor": lambda lib, **p: lib.SequenceRatingRegressor(**old_training(p)),
    "visible": lambda lib, X, names: X if names == "all" else X[IDS + (names or [])],
}


class Library:
    """The public names of a checkout, in today's words, and the seed of a run."""

    def __init__(self, seed: int = 0):
        self.seed = seed

    def __getattr__(self, name: str) -> Any:
        sklrec = import_module("sklrec")
        if is_old(sklrec) and name in TRANSLATED:
            return partial(TRANSLATED[name], sklrec)
        # `visible` cuts a table for a BayesianMFRegressor where it cannot do so itself.
        return getattr(sklrec, name) if name != "visible" else lambda X, names: X
