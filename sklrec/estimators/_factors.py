"""Fitted attributes of estimators whose module has factors and biases."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec._core.recommend import RecommenderMixin


class FactorsMixin(RecommenderMixin):
    """Mixin that reads the factors and biases of users and items from `module_`."""

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

    def _rating_counts(self):
        return {"user": self.seen_.sum(axis=1), "item": self.seen_.sum(axis=0)}

    def _table(self, name, power_of_scale):
        # The module works on ratings of unit standard deviation. Row 0 is that of unknown IDs.
        scale = self.module_.scale.item() ** power_of_scale
        return self.module_.get_parameter(name).detach().cpu().numpy()[1:] * scale
