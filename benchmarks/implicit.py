"""Lists that our recommenders and other libraries make from events."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks._data import described_movielens
from benchmarks._peers import LeftOut, exchange
from benchmarks._results import bar, table
from sklrec.metrics import ndcg_at_k, recall_at_k
from sklrec.model_selection import LastInteractionsSplit

IDS = ["user", "item"]
K, SEEDS, SHARE = 10, 3, 0.2
QUICK_USERS = 200
MOST_USERS = 5000  # who get lists; of more users, these are a random sample
TIME_LIMIT = 3600.0  # of all settings of a model
# Sweeps of the curves of time and NDCG.
SWEEPS = [1, 2, 3, 4, 6, 8, 10, 15, 20]
ENOUGH = 0.995  # of the highest NDCG of the peer, for the time to reach it
Job = dict[str, Any]


class Contender(NamedTuple):
    """A recommender of a library, and the settings to choose from."""

    name: str
    task: str  # of benchmarks.peers.lists; its first word is the library
    recommender: str
    settings: list[Job]


def grid(*fixed: Job, **values: list[Any]) -> list[Job]:
    """Every combination of the values, with each of some fixed settings."""
    combined = [dict(zip(values, found, strict=True)) for found in product(*values.values())]
    return [{**some, **one} for some in fixed or ({},) for one in combined]


OURS, POPULARITY = "sklrec ImplicitMFRecommender", "sklrec PopularityRecommender"
EASE, ALS = "sklrec EASERecommender", "implicit AlternatingLeastSquares"
PENALTIES: list[Job] = [
    {"share": 20, "alpha": 0.01},
    {"share": 20, "alpha": 0.005},
    {"share": 20, "alpha": 0.0025},
    {"share": 20, "alpha": 0.001},
]
CONFIDENCES: list[Job] = [
    {"alpha": 1, "regularization": 0.1},
    {"alpha": 5, "regularization": 1},
    {"alpha": 20, "regularization": 1},
    {"alpha": 20, "regularization": 10},
]
WEIGHTS: list[Job] = [
    {"weight": 1, "regularization": 0.1},
    {"weight": 5, "regularization": 0.1},
    {"weight": 20, "regularization": 0.1},
    {"weight": 20, "regularization": 1},
]
# Eight settings each. Counts are read as weights by the models that can: see `with_counts`.
CONTENDERS = [
    Contender(POPULARITY, "sklrec_events", "PopularityRecommender", [{}]),
    Contender(
        EASE,
        "sklrec_events",
        "EASERecommender",
        grid(alpha=[12, 25, 50, 100, 200, 400, 800, 1600]),
    ),
    Contender(
        OURS, "sklrec_events", "ImplicitMFRecommender", grid(*PENALTIES, n_factors=[64, 256])
    ),
    Contender(ALS, "implicit_events", "als", grid(*CONFIDENCES, factors=[64, 256])),
    Contender(
        "implicit BayesianPersonalizedRanking",
        "implicit_events",
        "bpr",
        grid(factors=[64, 128], learning_rate=[0.01, 0.05], iterations=[100, 300]),
    ),
    Contender(
        "lenskit ImplicitMFScorer",
        "lenskit_events",
        "als",
        grid(*WEIGHTS, embedding_size=[64, 128]),
    ),
    Contender(
        "lenskit ItemKNNScorer",
        "lenskit_events",
        "knn",
        grid({"feedback": "implicit"}, max_nbrs=[10, 20, 50, 100], min_sim=[1e-6, 0.05]),
    ),
]
READ_COUNTS = [EASE, OURS, ALS]


class Part(NamedTuple):
    """Training rows and test rows."""

    train: pd.DataFrame
    test: pd.DataFrame


def run(
    *, quick: bool = False, log: pd.DataFrame | None = None, title: str = "MovieLens 100K"
) -> dict[str, Any]:
    is_last = log is None
    log = described_movielens() if log is None else log
    log = log.rename(columns={"rating": "count"})
    if quick:
        log = log[log["user"].isin(log["user"].unique()[:QUICK_USERS])]
    has_counts = not is_last and log["count"].max() > 10  # stars are no counts
    how = f"last {K}" if is_last else f"random {SHARE:.0%}"
    parts = [cut(log, seed, is_last) for seed in range(1 if quick else SEEDS)]
    validation = cut(parts[0].train, 0, is_last)
    rows, left_out, chosen = [], [], {}
    for contender in CONTENDERS:
        settings = with_counts(contender, has_counts)
        settings = settings[:2] if quick else settings
        try:
            best = chosen[contender.name] = choose(contender, settings, validation)
            rows += list(measure(contender, best, parts))
        except LeftOut as reason:
            left_out.append(f"{contender.name}: left out, {reason}")
            print(left_out[-1], flush=True)
    frame = pd.DataFrame(rows)
    means = frame.groupby("model", sort=False)[["ndcg", "recall", "seconds"]].mean()
    means = means.assign(setting=frame.groupby("model")["setting"].first())
    result = {
        "title": f"Lists from events of {title}",
        "notes": [
            f"The {how} events of each user are held out. Lists of {K} from all items that the "
            f"user does not have in the training rows. If there are more than {MOST_USERS} users, "
            f"a random sample of them. Means over {len(parts)} seeds. Each model has the best "
            f"of its settings on a validation part that is cut from the training rows of the "
            "first seed in the same way. Counts, if there are any, are weights of "
            f"1 + log(1 + count) in half of the settings of {', '.join(READ_COUNTS)}."
        ],
        "tables": [
            table(
                f"@{K}, {how} of each user",
                {"Model": "", "NDCG": ".4f", "Recall": ".4f", "Fit, s": ".1f", "Setting": ""},
                means.sort_values("ndcg", ascending=False).reset_index(),
            )
        ],
        "bars": list(bars(frame)),
        "left_out": left_out,
    }
    if {OURS, ALS} <= chosen.keys():
        found = curves(chosen, validation, SWEEPS[:2] if quick else SWEEPS)
        result["tables"].append(
            table(
                "Seconds of a fit by number of sweeps, and NDCG on the validation part",
                {"Model": "", "Factors": "d", "Sweeps": "d", "Seconds": ".2f", "NDCG": ".4f"},
                found,
            )
        )
        ratio = time_to_reach(found, OURS) / time_to_reach(found, ALS)
        result["bars"].append(bar(f"time to the NDCG of {ALS}, ratio", ratio, 1.2, ".2f"))
    return result


def cut(log: pd.DataFrame, seed: int, is_last: bool) -> Part:
    """Hold out the last events of each user, or a random share of them."""
    if is_last:
        train, test = next(LastInteractionsSplit(K, random_state=seed).split(log))
        return Part(log.iloc[train], log.iloc[test])
    rng = np.random.RandomState(seed)
    draw = pd.Series(rng.random_sample(len(log)), log.index)
    of_users = draw.groupby(log["user"])
    n_held_out = (SHARE * of_users.transform("size")).round()
    is_test = of_users.rank(method="first") <= n_held_out
    train, test = log[~is_test], log[is_test]
    if len(users := test["user"].unique()) > MOST_USERS:
        test = test[test["user"].isin(rng.choice(users, MOST_USERS, replace=False))]
    return Part(train, test)


def with_counts(contender: Contender, has_counts: bool) -> list[Job]:
    """Replace every second setting by one that reads counts as weights."""
    if not (has_counts and contender.name in READ_COUNTS):
        return contender.settings
    return [
        {**setting, "confidence": "log"} if k % 2 else setting
        for k, setting in enumerate(contender.settings)
    ]


def evaluate(
    contender: Contender, jobs: list[Job], part: Part
) -> list[tuple[float, float, float]]:
    """NDCG, recall and seconds of a fit of each job."""
    users, user_ids = pd.factorize(part.train["user"])
    items, item_ids = pd.factorize(part.train["item"])
    known = part.test[part.test["user"].isin(user_ids)]
    asked = np.unique(pd.Index(user_ids).get_indexer(known["user"]))
    data = {"user": users, "item": items, "asked": asked}
    data["count"] = part.train["count"].to_numpy()
    request = {"jobs": [{"recommender": contender.recommender, **job} for job in jobs]}
    library = contender.task.partition("_")[0]
    reports, lists = exchange(library, contender.task, request | {"n_items": K}, data, TIME_LIMIT)
    found = []
    for number, report in enumerate(reports):
        codes = lists[str(number)]
        row, rank = np.nonzero(codes >= 0)
        listed = pd.DataFrame(
            {
                "user": user_ids[asked[row]],
                "item": item_ids[codes[row, rank]],
                "rank": rank + 1,
            }
        )
        scores = (metric(known[IDS], listed, k=K) for metric in (ndcg_at_k, recall_at_k))
        found.append((*scores, report["seconds"]))
    return found


def choose(contender: Contender, settings: list[Job], validation: Part) -> Job:
    """Find the setting with the highest NDCG on the validation part."""
    found = evaluate(contender, [{**job, "random_state": 0} for job in settings], validation)
    for setting, (ndcg, *_, seconds) in zip(settings, found, strict=True):
        print(contender.name, setting, f"validation {ndcg:.4f}, {seconds:.1f} s", flush=True)
    return settings[int(np.argmax([ndcg for ndcg, *_ in found]))]


def measure(contender: Contender, setting: Job, parts: list[Part]) -> Iterator[dict[str, Any]]:
    for seed, part in enumerate(parts):
        ((ndcg, recall, seconds),) = evaluate(contender, [{**setting, "random_state": seed}], part)
        print(contender.name, seed, f"NDCG {ndcg:.4f}, recall {recall:.4f}", flush=True)
        shown = ", ".join(f"{name}={value}" for name, value in setting.items())
        row = {"model": contender.name, "seed": seed, "ndcg": ndcg, "recall": recall}
        yield row | {"seconds": seconds, "setting": shown}


def bars(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Differences of NDCG in paired standard errors over the seeds."""
    by_seed = frame.pivot(index="seed", columns="model", values="ndcg")
    ours = [name for name in (EASE, OURS) if name in by_seed]
    for mine in ours:
        for other in by_seed.columns.difference([EASE, OURS]):
            gap = by_seed[mine] - by_seed[other]
            error = gap.std() / len(gap) ** 0.5
            value = gap.mean() / error if len(gap) > 1 and error > 0 else float("nan")
            limit = 2.0 if other == POPULARITY else -1.0
            what = f"NDCG of {mine} minus that of {other}, in standard errors"
            yield bar(what, value, limit, ".1f", at_least=True)


def curves(chosen: dict[str, Job], part: Part, sweeps: list[int]) -> list[list[Any]]:
    """Model, numbers of factors and sweeps, seconds and NDCG of the chosen settings.

    Our model also has the number of factors of the peer.
    """
    of_peer = chosen[ALS]["factors"]
    numbers = {OURS: sorted({of_peer, chosen[OURS]["n_factors"]}), ALS: [of_peer]}
    names = {OURS: ("n_factors", "n_iter"), ALS: ("factors", "iterations")}
    rows = []
    for contender, name in ((c, c.name) for c in CONTENDERS if c.name in numbers):
        given = list(product(numbers[name], sweeps))
        jobs = [dict(zip(names[name], one, strict=True)) for one in given]
        jobs = [{**chosen[name], **job, "random_state": 0} for job in jobs]
        # The first fit of a process takes longer.
        found = evaluate(contender, [*jobs[:1], *jobs], part)[1:]
        for one, (ndcg, _, seconds) in zip(given, found, strict=True):
            rows.append([name, *one, seconds, ndcg])
    return rows


def time_to_reach(rows: list[list[Any]], name: str) -> float:
    """Least seconds of a fit with the highest NDCG of the peer, less half a percent."""
    target = ENOUGH * max(ndcg for model, *_, ndcg in rows if model == ALS)
    reached = [seconds for model, *_, seconds, ndcg in rows if model == name and ndcg >= target]
    return min(reached, default=float("inf"))
