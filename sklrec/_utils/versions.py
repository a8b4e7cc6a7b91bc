"""Differences between the supported versions of scikit-learn and torch, and private names."""
# SPDX-License-Identifier: BSD-3-Clause

from inspect import signature
from typing import Any

import numpy as np
import torch
from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as take_rows
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.validation import _check_feature_names_in as check_feature_names_in
from sklearn.utils.validation import _check_sample_weight

# Only this module imports scikit-learn's private names.
__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "RealNotInt",
    "StrOptions",
    "check_feature_names_in",
    "check_sample_weight",
    "fit_context",
    "is_exporting",
    "take_rows",
]

# torch 2.6 cannot tell an export from a compilation, in which the same operations are correct.
# Remove this when the floor of torch is 2.7.
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


try:
    from sklearn.callback import CallbackSupportMixin
except ModuleNotFoundError:
    # scikit-learn 1.7 and 1.8 have no callbacks. Remove this when the floor is 1.9.
    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement whose estimators have no `set_callbacks`."""

        def _init_callback_context(self, **kwargs: Any) -> Any:
            return _NoCallbacks()

    class _NoCallbacks:
        def call_on_fit_task_begin(self, **kwargs: Any) -> None: ...

        def call_on_fit_task_end(self, **kwargs: Any) -> None: ...


def check_sample_weight(
    sample_weight: Any, X: Any, *, allow_all_zero_weights: bool = False
) -> np.ndarray:
    """Check that there is one weight of at least 0 for each row, and return float64."""
    options = {"dtype": np.float64, "ensure_non_negative": True}
    if "allow_all_zero_weights" in signature(_check_sample_weight).parameters:
        options["allow_all_zero_weights"] = allow_all_zero_weights
        return _check_sample_weight(sample_weight, X, **options)
    # scikit-learn 1.7 and 1.8 accept weights of 0 only. Remove this when the floor is 1.9.
    weight = _check_sample_weight(sample_weight, X, **options)
    if not allow_all_zero_weights and not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight
