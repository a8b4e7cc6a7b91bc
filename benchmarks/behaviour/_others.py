"""Cases: all else that the package offers."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
from functools import partial
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

import benchmarks.behaviour._library as lib
import sklrec
from benchmarks.behaviour._fits import ALL, CHAIN, LSTM, MF, PARAMS, SVDPP, UNBIASED
from benchmarks.behaviour._library import case, fitted, make, plain, shown, state, weights_of


@case("transformers")
def transformers() -> Any:
    X, y = plain()
    user, found = X["user"], {}
    by_kind = {
        "integers": user,
        "strings": "u" + user.astype(str),
        "floats": user + 0.5,
        "booleans": user % 2 == 0,
        "bytes": [str(k).encode() for k in user],
        "dates": pd.to_datetime(user, unit="D"),
        "times": pd.to_timedelta(user, unit="h"),
        "tuples": [(k % 7, str(k)) for k in user],
        "categories": pd.Categorical("u" + user.astype(str)),
        "mixed": [k if k % 2 else str(k) for k in user],
    }
    for kind, values in by_kind.items():
        table = pd.DataFrame({"user": pd.Series(values), "item": X["item"], "more": y})
        encoder = sklrec.IDEncoder(min_frequency=20).fit(table[:4000])
        codes = encoder.transform(table)
        found[kind] = [encoder.categories_, encoder.infrequent_categories_, codes]
        found[kind].append(encoder.inverse_transform(codes))
        encoder = sklrec.IDEncoder().fit(table[:2000]).partial_fit(table)
        found[kind].append(encoder.transform(table))
        model = make("mf", max_epochs=2, n_factors=3).fit(table[:4000], y[:4000])
        found[kind].append(state(model, table[4000:]))
    sequences = [list(range(1, 1 + k % 6)) for k in range(30)]
    for params in ({}, {"max_len": 3, "mask": True}, {"padding": "post", "truncating": "post"}):
        found[f"padder {params}"] = sklrec.SequencePadder(**params).fit_transform(sequences)
    encoded = sklrec.IDEncoder().fit_transform(X)
    for ratings in (True, False):
        windower = sklrec.SequenceWindower(max_len=5, ratings=ratings)
        windows = windower.fit(encoded[:3000], y[:3000]).transform(encoded)
        found[f"windower {ratings}"] = [windows, windower.get_feature_names_out()]
    return found


@case("splitters")
def splitters() -> Any:
    splits = import_module("sklrec.model_selection")
    drawn = {"n_splits": 3, "random_state": 0}
    folds = ({}, drawn | {"shuffle": True})
    shares = (drawn | {"test_size": 0.3}, drawn | {"train_size": 0.5})
    asked: dict[str, tuple[dict[str, Any], ...]] = {
        "ColdItemKFold": folds,
        "ColdItemShuffleSplit": shares,
        "ColdUserKFold": folds,
        "ColdUserShuffleSplit": shares,
        "GlobalTimeSplit": ({}, {"n_splits": 2, "test_size": 0.1}),
        "LastInteractionsSplit": ({"min_train": 2}, {"timestamp": None, "random_state": 0}),
        "UserStratifiedKFold": folds,
    }
    return {
        f"{name} {params}": list(getattr(splits, name)(**params).split(plain()[0]))
        for name, several in asked.items()
        for params in several
    }


@case("metrics and scorers")
def metrics_and_scorers() -> Any:
    metrics = import_module("sklrec.metrics")
    X, y = plain()
    model = make("mf", **MF).fit(X[:4000], y[:4000])
    test, truth = X[4000:], y[4000:]
    liked, predicted = test[truth >= 4], model.recommend(test["user"].unique())
    found: dict[str, Any] = {}
    ranking = ("hit_rate", "map", "mrr", "ndcg", "precision", "recall")
    for name in ranking:
        score = getattr(metrics, f"{name}_at_k")
        found[name] = [score(liked, predicted, k=5, average=kind) for kind in ("macro", None)]
    graded = liked.assign(rating=truth)
    found["graded"] = metrics.ndcg_at_k(graded, predicted, k=5, gain="rating")
    found["coverage"] = metrics.coverage_at_k(predicted, X["item"].unique())
    found["novelty"] = metrics.novelty_at_k(predicted, X, average=None)
    for candidates in ("all", "rated"):
        options = {"threshold": 4, "candidates": candidates, "counts": True}
        scorer = metrics.make_ranking_scorer(ranking, 5, **options)
        found[f"scorer, {candidates}"] = scorer(model, test, truth)
    gaps = truth.where(truth > 1)
    weights = {"sample_weight": weights_of(gaps)}
    found["masked"] = metrics.masked_root_mean_squared_error(gaps, model.predict(test), **weights)
    scorer = metrics.neg_masked_root_mean_squared_error_scorer
    return found | {"masked scorer": scorer(model, test, gaps)}


@case("data sets")
def data_sets() -> Any:
    make_ratings, small = import_module("sklrec.datasets").make_ratings, (50, 40, 500)
    return [
        make_ratings(random_state=0),
        make_ratings(200, 100, 9000, noise=0.2, long_tail=0.0, step=0.5, random_state=1),
        make_ratings(
            *small, rating_scale=(0, 10), timestamps=False, as_frame=False, random_state=2
        ),
        make_ratings(*small, return_truth=True, random_state=3),
    ]


@case("inspection")
def inspection() -> Any:
    displays = import_module("sklrec.inspection")
    model, X = fitted("mf", MF, validation=True)
    bayesian, narrow = fitted("bayesian", CHAIN)
    y = 1.0 + np.arange(len(X)) % 5
    times = {"test_score": np.array([-0.9, -1.0]), "fit_time": np.array([1.0, 2.0])}
    found = [
        displays.TrainingHistoryDisplay.from_estimator(model),
        displays.PredictedRatingsDisplay.from_estimator(model, X, y),
        displays.ErrorByActivityDisplay.from_estimator(model, X, y),
        displays.ErrorByActivityDisplay.from_estimator(model, X, y, by="item"),
        displays.ItemMapDisplay.from_estimator(model),
        displays.RankingCurveDisplay.from_estimator(model, X, y, threshold=4, name="mf"),
        displays.CalibrationDisplay.from_estimator(bayesian, narrow, y, name="bayesian"),
        displays.AccuracyTimeDisplay.from_cv_results({"one": times | {"score_time": [1.0, 1.0]}}),
    ]
    # Names that end in _ are of matplotlib's objects.
    return [{k: v for k, v in vars(d).items() if not k.endswith("_")} for d in found]


def files(kind: str, params: dict[str, Any]) -> Any:
    """Model files, pickles and continued fits; an export where there is one."""
    if kind == "bayesian":
        params = params | ALL | {"svdpp": True, "loss": "ordinal"}
    table = plain if kind == "sequence" else lib.featured
    model, X = fitted(kind, params, table)
    with TemporaryDirectory() as folder:
        sklrec.save(model, f"{folder}/model")
        copies = [sklrec.load(f"{folder}/model"), pickle.loads(pickle.dumps(model))]
    found = [shown(copy, X) for copy in copies]
    if kind == "bayesian":
        return found
    train, y = table()
    further = [c.set_params(warm_start=True).fit(train[:4000], y[:4000]) for c in copies]
    return [found, [state(copy, X) for copy in further], exported(model, X)]


def exported(model: Any, X: Any) -> Any:
    """Inputs and ratings of the ONNX graph."""
    onnxruntime, export = import_module("onnxruntime"), import_module("sklrec.export")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    with TemporaryDirectory() as folder:
        export.to_onnx(model, f"{folder}/model.onnx")
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx", settings)
    inputs = export.onnx_inputs(model, X)
    return [inputs, session.run(["ratings"], inputs)]


for kind, params in PARAMS.items():
    case(f"{kind}: model files, pickle, ONNX")(partial(files, kind, params))


@case("approximate lists")
def approximate_lists() -> Any:
    approximate, found = import_module("sklrec.approximate"), []
    for params in (MF, SVDPP, MF | UNBIASED):
        model, _ = fitted("mf", params, lib.large)
        index = approximate.ApproximateItems(model, n_links=8, ef_search=32)
        users = list(model.encoder_.categories_[0][:50])
        found += [index.recommend(users, 7), index.recommend([*users, -1], exclude_seen=False)]
    return found


@case("searches and cross-validation")
def searches() -> Any:
    from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    scorer = import_module("sklrec.metrics").make_ranking_scorer(k=5, threshold=4)
    (table, y), found = plain(), {}
    cv: dict[str, Any] = {"cv": KFold(2), "error_score": "raise"}
    for kind, params in PARAMS.items():
        X, model = lib.visible(table, None) if kind == "bayesian" else table, make(kind, **params)
        found[kind] = cross_val_score(model, X, y, scoring="neg_mean_squared_error", **cv)
        found[f"{kind}, lists"] = cross_val_score(model, X, y, scoring=scorer, **cv)
        search = GridSearchCV(model, {"n_factors": [2, 5]}, **cv).fit(X, y)
        results = {k: v for k, v in search.cv_results_.items() if "score" in k and "time" not in k}
        found[f"{kind}, search"] = [results, search.best_params_, search.predict(X[:300])]
    steps = sklrec.IDEncoder(), sklrec.SequenceWindower(max_len=6, ratings=True)
    pipeline = make_pipeline(*steps, make("sequence", **LSTM, input="sequences"))
    found["pipeline"] = pipeline.fit(table[:5000], y[:5000]).predict(table[5000:])
    return found
