"""Networks for `ModuleRecRegressor`, as users write them; worker processes import this file."""
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import nn


class Factors(nn.Module):
    """Matrix factorisation with biases."""

    def __init__(self, n_users, n_items, n_factors=8, sparse=False):
        super().__init__()
        self.users = nn.Embedding(n_users + 1, n_factors, sparse=sparse)
        self.items = nn.Embedding(n_items + 1, n_factors, sparse=sparse)
        self.user_offsets = nn.Embedding(n_users + 1, 1, sparse=sparse)
        self.item_offsets = nn.Embedding(n_items + 1, 1, sparse=sparse)

    def forward(self, users, items):
        offsets = self.user_offsets(users) + self.item_offsets(items)
        return (self.users(users) * self.items(items)).sum(1) + offsets.squeeze(1)


class SparseFactors(Factors):
    """The same with sparse gradients."""

    def __init__(self, n_users, n_items, n_factors=8, sparse=True):
        super().__init__(n_users, n_items, n_factors, sparse)


class FactorsWithVectors(Factors):
    """The same, with the methods that make recommendations fast."""

    def user_vectors(self, users):
        offsets = self.user_offsets(users)
        return torch.cat([self.users(users), offsets, torch.ones_like(offsets)], 1)

    def item_vectors(self, items):
        offsets = self.item_offsets(items)
        return torch.cat([self.items(items), torch.ones_like(offsets), offsets], 1)


class Layers(nn.Module):
    """Dense layers over the embeddings of a user and an item."""

    def __init__(self, n_users, n_items, n_factors=8, n_hidden=16, dropout=0.0):
        super().__init__()
        self.users = nn.Embedding(n_users + 1, n_factors)
        self.items = nn.Embedding(n_items + 1, n_factors)
        self.layers = nn.Sequential(
            nn.Linear(2 * n_factors, n_hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(n_hidden, 1),
        )

    def forward(self, users, items):
        return self.layers(torch.cat([self.users(users), self.items(items)], 1))


class Described(Factors):
    """Factors, and effects of all kinds of side features."""

    def __init__(self, n_users, n_items, n_values, n_numeric, n_factors=8):
        super().__init__(n_users, n_items, n_factors)
        self.values = nn.Embedding(n_values + 1, 1)
        self.numbers = nn.Linear(n_numeric, 1) if n_numeric else None

    def forward(self, users, items, features):
        found = super().forward(users, items)
        if self.numbers is not None:
            found = found + self.numbers(features["numeric"].nan_to_num()).squeeze(1)
        if "categorical" in features:
            found = found + self.values(features["categorical"]).sum((1, 2))
        if "multi_valued" in features:  # (n, n_columns, max_values)
            is_known = features["multi_valued"] > 0
            of_values = self.values(features["multi_valued"]).squeeze(3) * is_known
            found = found + (of_values.sum(2) / is_known.sum(2).clamp(min=1)).sum(1)
        return found


class Remembering(Factors):
    """Factors, and a weighted mean of the ratings in the user's history."""

    def __init__(self, n_users, n_items, max_len, n_factors=8):
        super().__init__(n_users, n_items, n_factors)
        self.weights = nn.Parameter(torch.zeros(max_len))

    def forward(self, users, items, histories):
        is_read = histories.items > 0  # (n, max_len)
        weights = self.weights.exp() * is_read
        means = (weights * histories.ratings).sum(1) / (1 + weights.sum(1))
        return super().forward(users, items) + means
