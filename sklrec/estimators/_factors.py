"""Fitted attributes of estimators whose module has tables of factors and biases."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np


def _table(name: str, doc: str, power_of_scale: float) -> Any:
    """Make the attribute for a table of `module_`, in units of the ratings."""

    def read(self: Any) -> np.ndarray:
        if name.endswith("biases") and not self.module_.has_biases:
            raise AttributeError(
                f"This {type(self).__name__} has no {name}_: it was fitted with biased=False."
            )
        # The module works on ratings of unit standard deviation. Row 0 is that of unknown IDs.
        scale = self.module_.scale.item() ** power_of_scale
        return self.module_.get_parameter(name).detach().cpu().numpy()[1:] * scale

    read.__doc__ = doc
    return property(read)


class FactorsMixin:
    """Mixin that reads the factors and biases of users and items from `module_`."""

    user_factors_ = _table("user_factors.weight", "Factors of the known users.", 0.5)
    item_factors_ = _table("item_factors.weight", "Factors of the known items.", 0.5)
    user_biases_ = _table("user_biases", "Biases of the known users.", 1)
    item_biases_ = _table("item_biases", "Biases of the known items.", 1)
