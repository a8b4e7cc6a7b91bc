"""
NeuMF as a network of your own
==============================

NeuMF adds a product of factors and a net over two further embeddings (He et al. 2017,
`doi:10.1145/3038912.3052569 <https://doi.org/10.1145/3038912.3052569>`_). It is not a part of this
package. As an ``nn.Module`` of 20 lines it becomes a rating model with IDs, unknown users,
recommendations and grid search.
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import torch
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import KFold
from torch import nn

from sklrec import MFRegressor, ModuleRecRegressor
from sklrec.datasets import fetch_movielens


# %%
# Tables have one row more than there are users and items, because code 0 stands for unknown IDs.
class NeuMF(nn.Module):
    def __init__(self, n_users, n_items, n_factors=16, hidden_size=32):
        super().__init__()
        self.user_factors = nn.Embedding(n_users + 1, n_factors)
        self.item_factors = nn.Embedding(n_items + 1, n_factors)
        self.user_embeddings = nn.Embedding(n_users + 1, n_factors)
        self.item_embeddings = nn.Embedding(n_items + 1, n_factors)
        self.layers = nn.Sequential(nn.Linear(2 * n_factors, hidden_size), nn.ReLU())
        self.output = nn.Linear(n_factors + hidden_size, 1)

    def forward(self, users, items):
        products = self.user_factors(users) * self.item_factors(items)
        embeddings = self.user_embeddings(users), self.item_embeddings(items)
        units = self.layers(torch.cat(embeddings, 1))
        return self.output(torch.cat([products, units], 1))


# %%
# MovieLens 100K, the first of five shuffled folds. The estimator learns the penalties from the
# training ratings. All parameters have their defaults.
X, y = fetch_movielens("100k", return_X_y=True)
train, test = next(KFold(5, shuffle=True, random_state=0).split(X))
neumf = ModuleRecRegressor(NeuMF, random_state=0).fit(X.iloc[train], y.iloc[train])
mf = MFRegressor(random_state=0).fit(X.iloc[train], y.iloc[train])
for model in (neumf, mf):
    error = root_mean_squared_error(y.iloc[test], model.predict(X.iloc[test]))
    print(f"{type(model).__name__}: RMSE {error:.4f}")

# %%
# Recommendations for a known and for an unknown user:
print(neumf.recommend([196, 99_999], n_items=3))

# %%
# The loss of each epoch, before its steps:
plt.plot(range(1, neumf.n_iter_ + 1), neumf.loss_curve_, marker="o")
plt.xlabel("epoch")
plt.ylabel("mean squared error of the training")
plt.show()
