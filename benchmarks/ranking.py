"""Lists of rating models and of models of events, alone and in two stages, on MovieLens 100K."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks import _models as m
from benchmarks._data import ITEM_FEATURES, USER_FEATURES, described_movielens, split_genres
from benchmarks._peers import Field
from benchmarks._results import table
from sklrec.metrics import coverage_at_k, hit_rate_at_k, ndcg_at_k, recall_at_k
from sklrec.model_selection import LastInteractionsSplit

IDS = ["user", "item"]
RELEVANT, K, SEEDS = 4, 10, range(3)
SHORTLIST = 50
N_CANDIDATES = 100  # of the first of two stages
INFINITE = -np.inf, np.inf
METRICS = ["NDCG", "Recall", "Hit rate", "NDCG, stars", "Coverage", "NDCG, rated"]
FEATURES = [*USER_FEATURES, *ITEM_FEATURES]
MODELS = [
    *((model, IDS) for model in (m.OURS, m.OURS_SVDPP, m.BAYESIAN, m.BAYESIAN_SVDPP)),
    (m.ours("DenseRecRegressor"), IDS),
    (m.ours("SequenceRatingRegressor"), [*IDS, "timestamp"]),
    (m.ours("BayesianMFRegressor", svdpp=True, side_features="all"), [*IDS, *FEATURES]),
]
AMONG_POPULAR = [m.OURS, m.BAYESIAN]
EASE, IMPLICIT_MF = m.ours("EASERecommender"), m.ours("ImplicitMFRecommender")
Row = dict[str, Any]


class Protocol(NamedTuple):
    """Training and test rows, relevant test rows, their users, and ratings of each item."""

    train: pd.DataFrame
    test: pd.DataFrame
    liked: pd.DataFrame
    users: np.ndarray
    popularity: pd.Series  # the most rated item first, ties in the order of IDs


def run(*, quick: bool = False) -> dict[str, Any]:
    protocol = cut(described_movielens())
    seeds = SEEDS[:1] if quick else SEEDS
    field = Field([m.SURPRISE, m.IMPLICIT_ALS], time_limit=300)
    rows = [*simple(protocol), *estimators(protocol, seeds), *of_events(protocol, seeds)]
    rows += peers(field, protocol, seeds)
    by_model = pd.DataFrame(rows).groupby("model", sort=False)[METRICS]
    means = by_model.mean().sort_values("NDCG", ascending=False, na_position="last")
    return {
        "title": "Lists on MovieLens 100K",
        "notes": [
            f"The last 10 ratings of each user are held out, ties in random order; those of "
            f"{RELEVANT} stars or more are relevant, to {len(protocol.users):,} users. The first "
            f"{K} of all items, without those rated in training, and beside them the order of "
            "the held-out items of the user. NDCG, stars: all held-out items are relevant, with "
            "the stars above 2 as gains. Models have their defaults; scores are not clipped; "
            f"means over {len(seeds)} seeds. SequenceRatingRegressor reads timestamps, the model "
            f"with side features reads {', '.join(FEATURES)}, the others read users and items."
        ],
        "tables": [
            table(
                f"@{K}, each user's last 10",
                {"Model": "", **dict.fromkeys([*METRICS[:-1], "NDCG, rated items only"], ".3f")},
                means.reset_index(),
            )
        ],
        "left_out": field.left_out,
    }


def cut(log: pd.DataFrame) -> Protocol:
    train, test = next(LastInteractionsSplit(10, random_state=0).split(log))
    held_out = log.iloc[test].sample(frac=1, random_state=0)  # ties get a random order
    liked = held_out[held_out["rating"] >= RELEVANT]
    counts = log.iloc[train].groupby("item").size().sort_values(ascending=False, kind="stable")
    return Protocol(log.iloc[train], held_out, liked, liked["user"].unique(), counts)


def measure(protocol: Protocol, name: str, lists: pd.DataFrame | None, scores: Any = None) -> Row:
    """One row of figures; `scores` are those of the test rows."""
    row: Row = {"model": name, **dict.fromkeys(METRICS)}
    if lists is not None:
        for metric, score in zip(METRICS, (ndcg_at_k, recall_at_k, hit_rate_at_k), strict=False):
            row[metric] = score(protocol.liked, lists, k=K)
        gains = protocol.test.assign(gain=(protocol.test["rating"] - 2).clip(lower=0))
        row["NDCG, stars"] = ndcg_at_k(gains, lists, k=K, gain="gain")
        row["Coverage"] = coverage_at_k(lists, protocol.train["item"], k=K)
    if scores is not None:
        scored = protocol.test[IDS].assign(score=scores)
        row["NDCG, rated"] = ndcg_at_k(protocol.liked, scored, k=K)
    print(name, *(f"{row[m]:.4f}" for m in METRICS if row[m] is not None), flush=True)
    return row


def simple(protocol: Protocol) -> Iterator[Row]:
    counts = protocol.popularity
    scores = pd.DataFrame(np.tile(counts, (len(protocol.users), 1)), protocol.users, counts.index)
    rated = protocol.test["item"].map(counts).fillna(0)
    yield measure(protocol, "A constant", None, 0.0)
    yield measure(protocol, "The most rated items", highest(scores, protocol.train), rated)


def fitted(model: Any, protocol: Protocol, columns: list[str], seed: int) -> Any:
    estimator = m.make(model, random_state=seed)
    return estimator.fit(split_genres(protocol.train[columns]), protocol.train["rating"])


def estimators(protocol: Protocol, seeds: range) -> Iterator[Row]:
    hits = protocol.popularity.index[:SHORTLIST].to_numpy()
    for model, columns in MODELS:
        for seed in seeds:
            found = fitted(model, protocol, columns, seed)
            rated = found.predict(split_genres(protocol.test[columns]))
            yield measure(protocol, model.name, found.recommend(protocol.users, K), rated)
            if model in AMONG_POPULAR:
                lists = found.recommend(protocol.users, K, candidates=hits)
                name = f"{model.name}, of the {SHORTLIST} most rated items"
                yield measure(protocol, name, lists)


def of_events(protocol: Protocol, seeds: range) -> Iterator[Row]:
    """Rows of our models of events, and of lists that a rating model then orders."""
    asked = protocol.test[IDS]
    ease = m.make(EASE).fit(protocol.train[IDS])
    scores = ease.decision_function(asked)
    yield measure(protocol, EASE.name, ease.recommend(protocol.users, K), scores)
    for seed in seeds:
        events = m.make(IMPLICIT_MF, random_state=seed).fit(protocol.train[IDS])
        scores = events.decision_function(asked)
        yield measure(protocol, IMPLICIT_MF.name, events.recommend(protocol.users, K), scores)
        stars = fitted(m.BAYESIAN_SVDPP, protocol, IDS, seed)
        lists = events.recommend(protocol.users, N_CANDIDATES)
        ordered = stars.recommend(protocol.users, N_CANDIDATES, candidates=lists)
        name = f"{IMPLICIT_MF.name}, its first {N_CANDIDATES} ordered by {m.BAYESIAN_SVDPP.name}"
        yield measure(protocol, name, ordered)
        both = lists.merge(ordered, on=IDS, suffixes=("", "_stars"))
        gain = both["score_stars"] - stars.rating_scale_[0]
        both = both[IDS].assign(score=both["score"].clip(lower=0) * gain)
        yield measure(protocol, f"{name}, times the score", both)


def peers(field: Field, protocol: Protocol, seeds: range) -> Iterator[Row]:
    """Rows of other libraries."""
    items = protocol.popularity.index
    everything = pd.MultiIndex.from_product([protocol.users, items], names=IDS)
    asked = pd.concat([everything.to_frame(index=False), protocol.test[IDS]])
    train = protocol.train[[*IDS, "rating"]]
    jobs = [{"random_state": seed} for seed in seeds]
    for model in list(field.models):
        answers = field.run(model, train, asked, jobs, warm_up=False, scale=INFINITE) or []
        for answer in answers:
            found = answer.prediction[: len(everything)].reshape(-1, len(items))
            scores = pd.DataFrame(found, protocol.users, items)
            rated = answer.prediction[len(everything) :]
            yield measure(protocol, model.name, highest(scores, train), rated)


def highest(scores: pd.DataFrame, train: pd.DataFrame, n: int = K) -> pd.DataFrame:
    """Lists of unrated items from scores of users (rows) and items (columns); ties keep order."""
    values = scores.to_numpy(np.float64, copy=True)
    row = scores.index.get_indexer(train["user"])
    column = scores.columns.get_indexer(train["item"])
    there = (row >= 0) & (column >= 0)
    values[row[there], column[there]] = -np.inf
    best = np.argsort(-values, axis=1, kind="stable")[:, :n]
    found = pd.DataFrame(
        {"user": np.repeat(scores.index, n), "item": scores.columns[best.ravel()]}
    )
    return found.assign(rank=np.tile(np.arange(1, n + 1), len(scores)))
