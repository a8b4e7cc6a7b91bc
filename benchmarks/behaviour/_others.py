"""Cases: all else that the package offers."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
from functools import partial
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.behaviour._case import case, fitted, lists, state
from benchmarks.behaviour._fits import ALL, CHAIN, ESTIMATORS, LSTM, MF, SVDPP, VALIDATED
from benchmarks.behaviour._library import Library
from benchmarks.behaviour._tables import featured, large, plain, weights_of


@case("transformers")
def transformers(lib: Library) -> Any:
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
        encoder = lib.IDEncoder(min_frequency=20).fit(table[:4000])
        codes = encoder.transform(table)
        found[kind] = [encoder.categories_, encoder.infrequent_categories_, codes]
        found[kind].append(encoder.inverse_transform(codes))
        found[kind].append(lib.IDEncoder().fit(table[:2000]).partial_fit(table).transform(table))
        model = lib.MFRegressor(max_epochs=2, n_factors=3, random_state=lib.seed)
        found[kind].append(state(model.fit(table[:4000], y[:4000]), table[4000:]))
    sequences = [list(range(1, 1 + k % 6)) for k in range(30)]
    for params in ({}, {"max_len": 3, "mask": True}, {"padding": "post", "truncating": "post"}):
        found[f"padder {params}"] = lib.SequencePadder(**params).fit_transform(sequences)
    encoded = lib.IDEncoder().fit_transform(X)
    for ratings in (True, False):
        windower = lib.SequenceWindower(max_len=5, ratings=ratings).fit(encoded[:3000], y[:3000])
        found[f"windower {ratings}"] = [
            windower.transform(encoded),
            windower.get_feature_names_out(),
        ]
    return found


@case("splitters")
def splitters(lib: Library) -> Any:
    splits = import_module("sklrec.model_selection")
    X, _ = plain()
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
        f"{name} {params}": list(getattr(splits, name)(**params).split(X))
        for name, several in asked.items()
        for params in several
    }


RANKING = ("hit_rate", "map", "mrr", "ndcg", "precision", "recall")


@case("metrics and scorers")
def metrics_and_scorers(lib: Library) -> Any:
    metrics = import_module("sklrec.metrics")
    X, y = plain()
    model = lib.MFRegressor(**MF, random_state=lib.seed).fit(X[:4000], y[:4000])
    test, truth = X[4000:], y[4000:]
    liked, predicted = test[truth >= 4], model.recommend(test["user"].unique())
    found: dict[str, Any] = {}
    for name in RANKING:
        score = getattr(metrics, f"{name}_at_k")
        found[name] = [score(liked, predicted, k=5, average=kind) for kind in ("macro", None)]
    graded = liked.assign(rating=truth)
    found["graded"] = metrics.ndcg_at_k(graded, predicted, k=5, gain="rating")
    found["coverage"] = metrics.coverage_at_k(predicted, X["item"].unique())
    found["novelty"] = metrics.novelty_at_k(predicted, X, average=None)
    for candidates in ("all", "rated"):
        scorer = metrics.make_ranking_scorer(
            RANKING, 5, threshold=4, candidates=candidates, counts=True
        )
        found[f"scorer, {candidates}"] = scorer(model, test, truth)
    gaps = truth.where(truth > 1)
    weights = {"sample_weight": weights_of(gaps)}
    found["masked"] = metrics.masked_root_mean_squared_error(gaps, model.predict(test), **weights)
    scorer = metrics.neg_masked_root_mean_squared_error_scorer
    return found | {"masked scorer": scorer(model, test, gaps)}


@case("data sets")
def data_sets(lib: Library) -> Any:
    make = import_module("sklrec.datasets").make_ratings
    return [
        make(random_state=0),
        make(200, 100, 9000, noise=0.2, long_tail=0.0, step=0.5, random_state=1),
        make(50, 40, 500, rating_scale=(0, 10), timestamps=False, as_frame=False, random_state=2),
        make(50, 40, 500, return_truth=True, random_state=3),
    ]


@case("inspection")
def inspection(lib: Library) -> Any:
    displays = import_module("sklrec.inspection")
    model, X = fitted(lib, "MFRegressor", MF, **VALIDATED)
    bayesian, narrow = fitted(lib, "BayesianMFRegressor", CHAIN)
    y = 1.0 + np.arange(len(X)) % 5
    times = {"test_score": np.array([-0.9, -1.0]), "fit_time": np.array([1.0, 2.0])}
    shown = [
        displays.TrainingHistoryDisplay.from_estimator(model),
        displays.PredictedRatingsDisplay.from_estimator(model, X, y),
        displays.ErrorByActivityDisplay.from_estimator(model, X, y),
        displays.ErrorByActivityDisplay.from_estimator(model, X, y, by="item"),
        displays.RankingCurveDisplay.from_estimator(model, X, y, threshold=4, name="mf"),
        displays.CalibrationDisplay.from_estimator(bayesian, narrow, y, name="bayesian"),
        displays.AccuracyTimeDisplay.from_cv_results({"one": times | {"score_time": [1.0, 1.0]}}),
    ]
    # Names that end in _ are of matplotlib's objects.
    return [{k: v for k, v in vars(d).items() if not k.endswith("_")} for d in shown]


def _files(name: str, params: dict[str, Any], lib: Library) -> Any:
    """Model files, pickles and clones; an export where there is one."""
    if name == "BayesianMFRegressor":
        params = params | ALL | {"svdpp": True, "loss": "ordinal"}
    table = plain if name == "SequenceRatingRegressor" else featured
    model, X = fitted(lib, name, params, table)
    with TemporaryDirectory() as folder:
        lib.save(model, f"{folder}/model")
        loaded = lib.load(f"{folder}/model")
    copies = {"loaded": loaded, "pickled": pickle.loads(pickle.dumps(model))}
    found = {title: [state(copy, X), lists(copy)] for title, copy in copies.items()}
    if name != "BayesianMFRegressor":
        for title, copy in copies.items():
            train, y = table()
            copy.set_params(warm_start=True).fit(train[:4000], y[:4000])
            found[f"{title}, fitted further"] = state(copy, X)
        found["onnx"] = exported(model, X)
    return found


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


for short, (owner, params) in ESTIMATORS.items():
    case(f"{short}: model files, pickle, ONNX")(partial(_files, owner, params))


@case("approximate lists")
def approximate_lists(lib: Library) -> Any:
    approximate = import_module("sklrec.approximate")
    found = []
    for params in (MF, SVDPP, MF | {"biased": False}):
        model, _ = fitted(lib, "MFRegressor", params, large)
        index = approximate.ApproximateItems(model, n_links=8, ef_search=32)
        users = list(model.encoder_.categories_[0][:50])
        found += [index.recommend(users, 7), index.recommend([*users, -1], exclude_seen=False)]
    return found


@case("searches and cross-validation")
def searches(lib: Library) -> Any:
    from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    scorer = import_module("sklrec.metrics").make_ranking_scorer(k=5, threshold=4)
    (table, y), found = plain(), {}
    cv: dict[str, Any] = {"cv": KFold(2), "error_score": "raise"}
    for title, (name, params) in ESTIMATORS.items():
        X = lib.visible(table, None) if title == "bayesian" else table
        model = getattr(lib, name)(**params, random_state=lib.seed)
        found[title] = cross_val_score(model, X, y, scoring="neg_mean_squared_error", **cv)
        found[f"{title}, lists"] = cross_val_score(model, X, y, scoring=scorer, **cv)
        search = GridSearchCV(model, {"n_factors": [2, 5]}, **cv).fit(X, y)
        results = {k: v for k, v in search.cv_results_.items() if "score" in k and "time" not in k}
        found[f"{title}, search"] = [results, search.best_params_, search.predict(X[:300])]
    model = lib.SequenceRatingRegressor(**LSTM, input="sequences", random_state=lib.seed)
    steps = lib.IDEncoder(), lib.SequenceWindower(max_len=6, ratings=True), model
    found["pipeline"] = make_pipeline(*steps).fit(table[:5000], y[:5000]).predict(table[5000:])
    return found
