"""
MovieLens 100K: compare three models and recommend films
========================================================

Compare matrix factorisation, a dense net and an LSTM by scikit-learn's cross-validation on the
same rows. Draw the results, and let the best model recommend films.
"""
# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, cross_val_score

from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor
from sklrec.datasets import fetch_movielens
from sklrec.model_selection import LastInteractionsSplit

pd.set_option("display.width", 100, "display.max_columns", 10)

# %%
# The data: 100,000 ratings of one to five stars, with timestamps. In their order ``KFold(5)``
# gives the published folds u1 to u5, of which this program uses the first.
movielens = fetch_movielens("100k")
X, y = movielens.data, movielens.target  # columns user, item, timestamp; stars
films = movielens.item_frame.set_index("item")["title"]

# %%
# All three models get the same rows. `MFRegressor` reads users and items. `DenseRecRegressor`
# takes the timestamp as a side feature. `SequenceRatingRegressor` reads the ratings of the user
# that are strictly earlier than the row.
verbose = int("__file__" in globals())  # no progress bars in a gallery or a notebook
models = {
    "MFRegressor": MFRegressor(random_state=0, verbose=verbose),
    "DenseRecRegressor": DenseRecRegressor(random_state=0, verbose=verbose),
    "SequenceRatingRegressor": SequenceRatingRegressor(random_state=0, verbose=verbose),
}

# %%
# Two splits. The fold u1 holds out any ratings, so that a model also learns from later ratings of
# the user. The second split holds out the last ten ratings of each user.
splits = {
    "u1": [next(KFold(5).split(X))],
    "each user's last 10": LastInteractionsSplit(10, random_state=0),
}
rmse = pd.DataFrame(index=list(models), columns=list(splits), dtype=float)
for name, model in models.items():
    for split, cv in splits.items():
        scores = cross_val_score(model, X, y, cv=cv, scoring="neg_root_mean_squared_error")
        rmse.loc[name, split] = -scores.mean()

# %%
# The 2018 post "PyTorch for Recommenders 101" trained the three plain networks one sample at a
# time, on ratings scaled to [0, 1] and a split that it does not name.
table = rmse.assign(
    **{
        "u1 on [0, 1]": rmse["u1"] / 4,
        "the post's, on [0, 1]": [0.66, 0.28, 0.43],
    }
)
print("RMSE in stars")
print(table.to_string(float_format="{:.3f}".format), end="\n\n")

# %%
# The comparison, and the predictions for the last ratings by the best model on these.
best = rmse["each user's last 10"].idxmin()
train, test = next(splits["each user's last 10"].split(X, y))
predicted = models[best].fit(X.iloc[train], y.iloc[train]).predict(X.iloc[test])
by_stars = pd.Series(predicted, index=test).groupby(y.iloc[test])

figure, (bars, stars) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for position, (split, errors) in enumerate(rmse.items()):
    places = np.arange(len(errors)) + 0.4 * position - 0.2
    shown = bars.barh(places, errors, height=0.36, label=split)
    bars.bar_label(shown, fmt="{:.3f}", padding=3)
bars.set_yticks(range(len(rmse)), rmse.index)
bars.set(title="Three models, two splits", xlabel="RMSE in stars")
bars.set_xlim(rmse.min(axis=None) - 0.05, rmse.max(axis=None) + 0.04)
bars.invert_yaxis()
figure.legend(loc="outside lower left", ncols=2)
stars.axline((1, 1), slope=1, color="grey", linestyle=":", label="no error")
stars.boxplot([group for _, group in by_stars], positions=list(by_stars.groups), sym="")
stars.set(title=f"{best}, each user's last 10", xlabel="actual stars", ylabel="predicted stars")
stars.legend()

if "__file__" in globals():  # run as a script rather than in a gallery or a notebook
    picture = Path("demo_output", "movielens.png")
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=150)
    print(f"The comparison and the predictions are drawn in {picture}.", end="\n\n")

# %%
# The best model is fitted to all ratings. It finds films like Star Wars, and recommends to user
# 196 films that this user has not rated.
model = models[best].fit(X, y)
similar = model.similar_items([50], n_items=5)
similar = similar.assign(title=similar["similar_item"].map(films))
print(f"Films like {films[50]}:")
print(similar[["rank", "title", "score"]].to_string(index=False), end="\n\n")
top = model.recommend([196], n_items=10)
top = top.assign(title=top["item"].map(films))
print(f"Recommended to user 196 by {best}:")
print(top[["rank", "title", "score"]].to_string(index=False))
