"""Tasks that fit recommenders to events, and reply with the lists of some users."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._measure import THREADS
from benchmarks.peers._serve import read_request, write_reply

# A function of users and a number that gives the lists, (n_users, number), -1 where too short.
Recommend = Callable[[np.ndarray, int], np.ndarray]


def sklrec_events() -> None:
    import sklrec

    def fit(log: pd.DataFrame, recommender: str, share: float | None = None, **params: Any):
        make = getattr(sklrec, recommender)
        known = make().get_params()
        model = make(**{name: value for name, value in params.items() if name in known})
        if share is not None:  # weight of all unobserved pairs, in positives
            n_pairs = log["user"].nunique() * log["item"].nunique()
            model.set_params(unobserved_weight=share * len(log) / n_pairs)
        model.fit(log[["user", "item"]], log["count"])

        def recommend(users: np.ndarray, n: int) -> np.ndarray:
            lists = model.recommend(users, n)
            places = pd.Index(users).get_indexer(lists["user"])
            return filled(places, lists["rank"].to_numpy() - 1, lists["item"].to_numpy(), users, n)

        return recommend

    reply(fit)


def implicit_events() -> None:
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    classes = {"als": AlternatingLeastSquares, "bpr": BayesianPersonalizedRanking}

    def fit(log: pd.DataFrame, recommender: str, confidence: str | None = None, **params: Any):
        weights = 1 + np.log1p(log["count"]) if confidence == "log" else np.ones(len(log))
        matrix = csr_matrix((weights.astype(np.float32), (log["user"], log["item"])))
        model = classes[recommender](num_threads=THREADS, **params)
        with threadpool_limits(1, "blas"):  # it has threads of its own, and warns of BLAS's
            model.fit(matrix, show_progress=False)
        return lambda users, n: model.recommend(users, matrix[users], N=n)[0]

    reply(fit)


def lenskit_events() -> None:
    from lenskit.als import ImplicitMFScorer
    from lenskit.batch import recommend as batch_recommend
    from lenskit.data import from_interactions_df
    from lenskit.knn import ItemKNNScorer
    from lenskit.pipeline import topn_pipeline
    from lenskit.training import TrainingOptions

    def fit(log: pd.DataFrame, recommender: str, random_state: int = 0, **params: Any):
        scorer = {"als": ImplicitMFScorer, "knn": ItemKNNScorer}[recommender](**params)
        pairs = log[["user", "item"]].rename(columns={"user": "user_id", "item": "item_id"})
        pipeline = topn_pipeline(scorer)
        pipeline.train(from_interactions_df(pairs), TrainingOptions(rng=random_state))

        def recommend(users: np.ndarray, n: int) -> np.ndarray:
            lists = batch_recommend(pipeline, users.tolist(), n=n, n_jobs=1).to_df()
            places = pd.Index(users).get_indexer(lists["user_id"])
            return filled(
                places, lists["rank"].to_numpy() - 1, lists["item_id"].to_numpy(), users, n
            )

        return recommend

    reply(fit)


def reply(fit: Callable[..., Recommend]) -> None:
    """Carry out the jobs of the request: fit, and recommend to the asked users."""
    request, data = read_request()
    log = pd.DataFrame({name: data[name] for name in ("user", "item", "count")})
    reports, lists = [], {}
    for number, params in enumerate(request["jobs"]):
        start = perf_counter()
        recommend = fit(log, **params)
        reports.append({"seconds": perf_counter() - start})
        lists[str(number)] = recommend(data["asked"], request["n_items"])
    write_reply(reports, lists)


def filled(
    rows: np.ndarray, columns: np.ndarray, items: np.ndarray, users: np.ndarray, n: int
) -> np.ndarray:
    found = np.full((len(users), n), -1)
    found[rows, columns] = items
    return found
