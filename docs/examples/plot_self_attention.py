"""
Self-attention over the history
===============================

A rating is predicted from the user's latest ratings before it. Attention weighs them by how much
each of these items tells about the item to rate (Kang and McAuley 2018,
`doi:10.1109/ICDM.2018.00035 <https://doi.org/10.1109/ICDM.2018.00035>`_, used it for next items).
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import torch
from sklearn.metrics import root_mean_squared_error
from torch import nn

from sklrec import BiasRegressor, ModuleRecRegressor
from sklrec.datasets import fetch_movielens
from sklrec.model_selection import LastInteractionsSplit


# %%
# The argument ``histories`` of ``forward`` asks for histories: items, ratings and gaps in time of
# shape (n, max_len), with zeros in front.
class SelfAttention(nn.Module):
    def __init__(self, n_items, max_len, n_factors=32):
        super().__init__()
        self.items = nn.Embedding(n_items + 1, n_factors)
        self.ratings = nn.Linear(1, n_factors)
        self.positions = nn.Parameter(0.05 * torch.randn(max_len, n_factors))
        self.attention = nn.MultiheadAttention(n_factors, num_heads=2, batch_first=True)
        self.output = nn.Linear(n_factors, 1)

    def forward(self, items, histories):
        wanted = self.items(items)
        past = self.items(histories.items) + self.positions
        rated = self.ratings(histories.ratings.unsqueeze(2)) * past
        place = torch.arange(past.shape[1], device=items.device) + histories.lengths.unsqueeze(1)
        padding = place < past.shape[1]
        padding = padding & (histories.lengths > 0).unsqueeze(1)
        found, _ = self.attention(wanted.unsqueeze(1), past, rated, padding, need_weights=False)
        return self.output(found.squeeze(1) * (1 + wanted))


# %%
# MovieLens 100K. The test rows are the last ten ratings of each user. Each prediction reads the
# earlier ratings of its user, also those among the test rows.
X, y = fetch_movielens("100k", return_X_y=True)
train, test = next(LastInteractionsSplit(10, random_state=0).split(X))
attention = ModuleRecRegressor(SelfAttention, max_len=20, max_epochs=3, output="residual")
attention.set_params(random_state=0).fit(X.iloc[train], y.iloc[train])
errors = {"biases": BiasRegressor().fit(X.iloc[train], y.iloc[train]).predict(X.iloc[test])}
errors["self-attention"] = attention.predict(X.iloc[test])
errors["self-attention, later ratings too"] = attention.predict(X.iloc[test], history=(X, y))
errors = {name: root_mean_squared_error(y.iloc[test], found) for name, found in errors.items()}
print(*(f"{name}: RMSE {error:.4f}" for name, error in errors.items()), sep="\n")

# %%
bars = plt.barh(list(errors), list(errors.values()))
plt.bar_label(bars, fmt="{:.4f}", padding=3)
plt.xlim(0.9 * min(errors.values()), 1.05 * max(errors.values()))
plt.xlabel("RMSE in stars")
plt.tight_layout()
plt.show()
