"""Cases: all else that the package offers."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

import benchmarks.behaviour._library as lib
import sklrec
from benchmarks.behaviour._fits import ALL, BAYES, LSTM, MF, PARAMS, SVDPP, UNBIASED
from benchmarks.behaviour._library import case, fitted, make, plain, shown, state, weights_of
from sklrec import approximate, export, metrics
from sklrec import inspection as displays
from sklrec import model_selection as splits
from sklrec.datasets import make_ratings


@case("transformers")
def transformers() -> Any:
    X, y = plain()
    user, found = X["user"], []
    kinds = [user, "u" + user.astype(str), user + 0.5, user % 2 == 0]
    kinds += [pd.to_datetime(user, unit="D"), pd.to_timedelta(user, unit="h")]
    kinds += [pd.Categorical("u" + user.astype(str)), [str(k).encode() for k in user]]
    kinds += [[(k % 7, str(k)) for k in user], [k if k % 2 else str(k) for k in user]]
    for values in kinds:
        table = pd.DataFrame({"user": pd.Series(values), "item": X["item"], "more": y})
        encoder = sklrec.IDEncoder(min_frequency=20).fit(table[:4000])
        codes = encoder.transform(table)
        found += [encoder.categories_, encoder.infrequent_categories_, codes]
        found.append(encoder.inverse_transform(codes))
        encoder = sklrec.IDEncoder().fit(table[:2000]).partial_fit(table)
        found.append(encoder.transform(table))
        model = make("mf", max_epochs=2, n_factors=3).fit(table[:4000], y[:4000])
        found.append(state(model, table[4000:]))
    sequences = [list(range(1, 1 + k % 6)) for k in range(30)]
    for params in ({}, {"max_len": 3, "mask": True}, {"padding": "post", "truncating": "post"}):
        found.append(sklrec.SequencePadder(**params).fit_transform(sequences))
    encoded = sklrec.IDEncoder().fit_transform(X)
    for ratings in (True, False):
        windower = sklrec.SequenceWindower(max_len=5, ratings=ratings)
        windows = windower.fit(encoded[:3000], y[:3000]).transform(encoded)
        found += [windows, windower.get_feature_names_out()]
    return found


@case("splitters")
def splitters() -> Any:
    drawn: dict[str, Any] = {"n_splits": 3, "random_state": 0}
    found = [
        splits.GlobalTimeSplit(),
        splits.GlobalTimeSplit(n_splits=2, test_size=0.1),
        splits.LastInteractionsSplit(min_train=2),
        splits.LastInteractionsSplit(timestamp=None, random_state=0),
    ]
    for folds in (splits.ColdItemKFold, splits.ColdUserKFold, splits.UserStratifiedKFold):
        found += [folds(), folds(**drawn, shuffle=True)]
    for shares in (splits.ColdItemShuffleSplit, splits.ColdUserShuffleSplit):
        found += [shares(**drawn, test_size=0.3), shares(**drawn, train_size=0.5)]
    return [list(splitter.split(plain()[0])) for splitter in found]


@case("metrics and scorers")
def metrics_and_scorers() -> Any:
    X, y = plain()
    model = make("mf", **MF).fit(X[:4000], y[:4000])
    test, truth = X[4000:], y[4000:]
    liked, predicted = test[truth >= 4], model.recommend(test["user"].unique())
    ranking = ("hit_rate", "map", "mrr", "ndcg", "precision", "recall")
    scores = [getattr(metrics, f"{name}_at_k") for name in ranking]
    found = [s(liked, predicted, k=5, average=kind) for s in scores for kind in ("macro", None)]
    for candidates in ("all", "rated"):
        options = {"threshold": 4, "candidates": candidates, "counts": True}
        found.append(metrics.make_ranking_scorer(ranking, 5, **options)(model, test, truth))
    gaps, weights = truth.where(truth > 1), weights_of(truth)
    return [
        *found,
        metrics.ndcg_at_k(liked.assign(rating=truth), predicted, k=5, gain="rating"),
        metrics.coverage_at_k(predicted, X["item"].unique()),
        metrics.novelty_at_k(predicted, X, average=None),
        metrics.masked_root_mean_squared_error(gaps, model.predict(test), sample_weight=weights),
        metrics.neg_masked_root_mean_squared_error_scorer(model, test, gaps),
    ]


@case("data sets")
def data_sets() -> Any:
    arrays = {"rating_scale": (0, 10), "timestamps": False, "as_frame": False}
    return [
        make_ratings(random_state=0),
        make_ratings(200, 100, 9000, noise=0.2, long_tail=0.0, step=0.5, random_state=1),
        make_ratings(50, 40, 500, **arrays, random_state=2),
        make_ratings(50, 40, 500, return_truth=True, random_state=3),
    ]


@case("inspection")
def inspection() -> Any:
    model, X = fitted("mf", MF, validation=True)
    bayesian, narrow = fitted("bayesian", BAYES)
    y = 1.0 + np.arange(len(X)) % 5
    times = {"test_score": np.array([-0.9, -1.0]), "fit_time": np.array([1.0, 2.0])}
    found = [
        displays.TrainingHistoryDisplay.from_estimator(model),
        displays.PredictedRatingsDisplay.from_estimator(model, X, y),
        displays.ErrorByActivityDisplay.from_estimator(model, X, y),
        displays.ErrorByActivityDisplay.from_estimator(model, X, y, by="item"),
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
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    with TemporaryDirectory() as folder:
        export.to_onnx(model, f"{folder}/model.onnx")
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx", settings)
    train, y = table()
    further = [c.set_params(warm_start=True).fit(train[:4000], y[:4000]) for c in copies]
    inputs = export.onnx_inputs(model, X)
    return [found, [state(copy, X) for copy in further], inputs, session.run(["ratings"], inputs)]


for kind, params in PARAMS.items():
    case(f"{kind}: model files, pickle, ONNX")(partial(files, kind, params))


@case("approximate lists")
def approximate_lists() -> Any:
    found = []
    for params in (MF, SVDPP, MF | UNBIASED):
        model, _ = fitted("mf", params, lib.large)
        index = approximate.ApproximateItems(model, n_links=8, ef_search=32)
        users = list(model.encoder_.categories_[0][:50])
        found += [index.recommend(users, 7), index.recommend([*users, -1], exclude_seen=False)]
    return found


@case("searches and cross-validation")
def searches() -> Any:
    (X, y), found = plain(), []
    cv: dict[str, Any] = {"cv": KFold(2), "error_score": "raise"}
    for kind, params in PARAMS.items():
        model = make(kind, **params)
        search = GridSearchCV(model, {"n_factors": [2, 5]}, **cv).fit(X, y)
        found += [search.cv_results_["mean_test_score"], search.predict(X[:300])]
        found.append(cross_val_score(model, X, y, scoring="neg_mean_squared_error", **cv))
    steps = sklrec.IDEncoder(), sklrec.SequenceWindower(max_len=6, ratings=True)
    pipeline = make_pipeline(*steps, make("sequence", **LSTM, input="sequences"))
    return [*found, pipeline.fit(X[:5000], y[:5000]).predict(X[5000:])]
