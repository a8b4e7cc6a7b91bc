"""Lists of rating models, of popularity and of a model of choices on MovieLens 100K."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone

from benchmarks._data import ITEM_FEATURES, SEPARATORS, USER_FEATURES, described_movielens
from benchmarks._models import ALS, GIBBS, IMPLICIT, IMPLICIT_ALS, OURS, SGD_IMPLICIT, SURPRISE
from benchmarks._peers import Field
from sklrec import BayesianFMRegressor, DenseRecRegressor, MFRegressor, SequenceRatingRegressor
from sklrec.metrics import coverage_at_k, hit_rate_at_k, ndcg_at_k, recall_at_k
from sklrec.model_selection import LastInteractionsSplit

IDS = ["user", "item"]
RELEVANT, K, SEEDS = 4, 10, range(3)
SHORTLIST = 50
INFINITE = -np.inf, np.inf
METRICS = ["NDCG", "Recall", "Hit rate", "Coverage", "NDCG, rated"]
CONSTANT, POPULAR = "A constant", "The most rated items"
FEATURES = [*USER_FEATURES, *ITEM_FEATURES]
ESTIMATORS = [
    *(
        (model.name, MFRegressor(**model.params), IDS)
        for model in (OURS, SGD_IMPLICIT, ALS, GIBBS, IMPLICIT)
    ),
    ("sklrec DenseRecRegressor", DenseRecRegressor(), IDS),
    ("sklrec SequenceRatingRegressor", SequenceRatingRegressor(), [*IDS, "timestamp"]),
    (
        "sklrec BayesianFMRegressor, features of users and items",
        BayesianFMRegressor(multi_valued=SEPARATORS),
        [*IDS, *FEATURES],
    ),
]
AMONG_POPULAR = [OURS.name, GIBBS.name]
Row = dict[str, Any]


class Protocol(NamedTuple):
    """What is known, what came after it, and what of that was liked."""

    train: pd.DataFrame
    test: pd.DataFrame
    liked: pd.DataFrame

    @property
    def users(self) -> np.ndarray:
        """Who is recommended to."""
        return self.liked["user"].unique()

    @property
    def popularity(self) -> pd.Series:
        """How often each item was rated, the most rated first and equal ones by their IDs."""
        counts = self.train.groupby("item").size()
        return counts.sort_values(ascending=False, kind="stable")


def run(*, quick: bool = False) -> dict[str, Any]:
    """Score the first ten of the whole catalogue, and the order of what was rated."""
    protocol = cut(described_movielens())
    seeds = SEEDS[:1] if quick else SEEDS
    field = Field([SURPRISE, IMPLICIT_ALS], time_limit=300)
    rows = [*simple(protocol), *estimators(protocol, seeds), *peers(field, protocol, seeds)]
    frame = pd.DataFrame(rows)
    by_model = frame.groupby("model", sort=False)[METRICS]
    table = by_model.mean().sort_values("NDCG", ascending=False, na_position="last")
    spread = (by_model.max() - by_model.min()).max()
    return {
        "title": "Lists on MovieLens 100K",
        "notes": [
            f"The last 10 ratings of each user are held out, ties by lot; those of {RELEVANT} "
            f"stars or more are relevant, to {len(protocol.users):,} users. The first {K} of "
            "all items, without those rated in training, and beside them the order of the user's "
            "own held-out items. Models have their defaults; no list is made of clipped scores; "
            f"means over {len(seeds)} seeds where there is chance. SequenceRatingRegressor reads "
            f"timestamps, BayesianFMRegressor {', '.join(FEATURES)}, the "
            "others users and items alone.",
            f"Between seeds no model's NDCG differs by more than {spread['NDCG']:.3f}.",
        ],
        "tables": [
            {
                "title": f"@{K}, each user's last 10",
                "columns": dict.fromkeys(["Model", *METRICS[:4], "NDCG, rated items only"], ""),
                "rows": [
                    [name, *("" if np.isnan(value) else f"{value:.3f}" for value in values)]
                    for name, *values in table.itertuples()
                ],
            }
        ],
        "left_out": field.left_out,
        "measurements": rows,
    }


def cut(log: pd.DataFrame) -> Protocol:
    """Hold out the last ten of each user."""
    train, test = next(LastInteractionsSplit(10, random_state=0).split(log))
    held_out = log.iloc[test].sample(frac=1, random_state=0)  # ties are broken by lot
    return Protocol(log.iloc[train], held_out, held_out[held_out["rating"] >= RELEVANT])


def measure(
    protocol: Protocol, name: str, seed: int, lists: pd.DataFrame | None, scores: Any = None
) -> Row:
    """One row of figures; `scores` are those of the rows of the test part."""
    row: Row = {"model": name, "seed": seed, **dict.fromkeys(METRICS)}
    if lists is not None:
        for metric, score in zip(METRICS, (ndcg_at_k, recall_at_k, hit_rate_at_k), strict=False):
            row[metric] = score(protocol.liked, lists, k=K)
        row["Coverage"] = coverage_at_k(lists, protocol.train["item"], k=K)
    if scores is not None:
        row["NDCG, rated"] = ndcg_at_k(
            protocol.liked, protocol.test[IDS].assign(score=scores), k=K
        )
    print(name, seed, *(f"{row[m]:.4f}" for m in METRICS if row[m] is not None), flush=True)
    return row


def simple(protocol: Protocol) -> list[Row]:
    """Those that know nobody's taste."""
    counts = protocol.popularity
    scores = pd.DataFrame(np.tile(counts, (len(protocol.users), 1)), protocol.users, counts.index)
    rated = protocol.test["item"].map(counts).fillna(0)
    return [
        measure(protocol, CONSTANT, 0, None, 0.0),
        measure(protocol, POPULAR, 0, highest(scores, protocol.train), rated),
    ]


def estimators(protocol: Protocol, seeds: range) -> list[Row]:
    """Ours, each with its own `recommend` and `predict`."""
    rows = []
    hits = protocol.popularity.index[:SHORTLIST].to_numpy()
    for name, model, columns in ESTIMATORS:
        for seed in seeds:
            fitted = clone(model).set_params(random_state=seed)
            fitted.fit(protocol.train[columns], protocol.train["rating"])
            lists = fitted.recommend(protocol.users, K)
            rated = fitted.predict(protocol.test[columns])
            rows.append(measure(protocol, name, seed, lists, rated))
            if name in AMONG_POPULAR:
                lists = fitted.recommend(protocol.users, K, candidates=hits)
                among = f"{name}, of the {SHORTLIST} most rated items"
                rows.append(measure(protocol, among, seed, lists))
    return rows


def peers(field: Field, protocol: Protocol, seeds: range) -> list[Row]:
    """Other libraries, by their scores of all pairs, and a model of choices reordered by ours."""
    rows = []
    items = protocol.popularity.index
    everything = pd.MultiIndex.from_product([protocol.users, items], names=IDS)
    asked = pd.concat([everything.to_frame(index=False), protocol.test[IDS]])
    train = protocol.train[[*IDS, "rating"]]
    jobs = [{"random_state": seed} for seed in seeds]
    for model in list(field.models):
        answers = field.run(model, train, asked, jobs, warm_up=False, scale=INFINITE) or []
        for seed, answer in zip(seeds, answers, strict=False):
            found = answer.prediction[: len(everything)].reshape(-1, len(items))
            scores = pd.DataFrame(found, protocol.users, items)
            lists = highest(scores, train)
            rated = answer.prediction[len(everything) :]
            rows.append(measure(protocol, model.name, seed, lists, rated))
            if model is IMPLICIT_ALS:
                rows.append(
                    reordered(protocol, model.name, seed, highest(scores, train, SHORTLIST))
                )
    return rows


def reordered(protocol: Protocol, name: str, seed: int, lists: pd.DataFrame) -> Row:
    """The first ten of given lists by the most accurate of ours."""
    ours = MFRegressor(**IMPLICIT.params, random_state=seed)
    ours.fit(protocol.train[IDS], protocol.train["rating"])
    candidates = lists.groupby("user")["item"].agg(list).to_dict()
    of_them = ours.recommend(protocol.users, K, candidates=candidates)
    name = f"{name}, its first {SHORTLIST} in the order of {IMPLICIT.name}"
    return measure(protocol, name, seed, of_them)


def highest(scores: pd.DataFrame, train: pd.DataFrame, n: int = K) -> pd.DataFrame:
    """Lists as `recommend` gives them, from scores of all users (rows) and items (columns).

    What a user rated in training is left out; of equal scores the first item comes first.
    """
    values = scores.to_numpy(np.float64, copy=True)
    row = scores.index.get_indexer(train["user"])
    column = scores.columns.get_indexer(train["item"])
    there = (row >= 0) & (column >= 0)
    values[row[there], column[there]] = -np.inf
    best = np.argsort(-values, axis=1, kind="stable")[:, :n]
    return pd.DataFrame(
        {
            "user": np.repeat(scores.index, n),
            "item": scores.columns[best.ravel()],
            "rank": np.tile(np.arange(1, n + 1), len(scores)),
        }
    )
