"""
Retrieve, then rank
===================

A model of events finds the items that a user may choose. A rating model tells how much the user
will like them. Here the first proposes 100 films for each user, and both together order them.
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import pandas as pd

from sklrec import BayesianMFRegressor, ImplicitMFRecommender, PopularityRecommender
from sklrec.datasets import fetch_movielens
from sklrec.metrics import ndcg_at_k
from sklrec.model_selection import LastInteractionsSplit

# %%
# MovieLens 100K. The last ten ratings of each user are the test rows.
X, y = fetch_movielens("100k", return_X_y=True)
train, test = next(LastInteractionsSplit(10, random_state=0).split(X))
X_train, y_train = X.iloc[train], y.iloc[train]

# %%
# The recommenders read which films a user rated. The rating model reads the stars, too.
popularity = PopularityRecommender().fit(X_train)
implicit = ImplicitMFRecommender(random_state=0).fit(X_train)
ratings = BayesianMFRegressor(svdpp=True, random_state=0).fit(X_train, y_train)

# %%
# Without users, ``recommend`` makes a list for each known user. The table of one model gives the
# candidates of another.
candidates = implicit.recommend(n_items=100)
by_rating = ratings.recommend(n_items=100, candidates=candidates)

# %%
# The score of the recommender grows with the chance that the user chooses the film. So its product
# with the predicted stars above the lowest is about the gain to expect.
both = candidates.merge(by_rating, on=["user", "item"], suffixes=("", "_rating"))
both["score"] = both["score"].clip(lower=0) * (both["score_rating"] - ratings.rating_scale_[0])
lists = {
    "popularity": popularity.recommend(),
    "ratings": ratings.recommend(),
    "events": implicit.recommend(),
    "events, then ratings": by_rating,
    "events, then both": both[["user", "item", "score"]],
}

# %%
# Two questions about the first ten films of a list. Does the user watch them? All test films count
# the same. Does the user like them? Each star above 2 counts.
watched = X.iloc[test].assign(stars=(y.iloc[test] - 2).clip(lower=0))
found = {
    name: {"watched": ndcg_at_k(watched, rows), "liked": ndcg_at_k(watched, rows, gain="stars")}
    for name, rows in lists.items()
}
found = pd.DataFrame(found).T
print(found.round(3))

# %%
# Predicted stars alone put first what few people watch, also among the 100 films. Together with
# the score of the recommender, they find more of what the user likes.
found.plot.barh(xlabel="NDCG of ten films", title="Each user's last ten ratings")
plt.tight_layout()
plt.show()
