"""Calls public functions with wrong arguments, and lists the errors that are not our own."""
# SPDX-License-Identifier: BSD-3-Clause

# python tests/abuse/wrong_calls.py [SHARE [NAME]]
#
# Each argument of each call is replaced by each wrong value. A call may succeed, or raise an error
# of an allowed class whose traceback ends in sklrec or in a check of scikit-learn. SHARE below 1
# makes only some of the calls, and NAME only those whose name starts with it. The exit status is 1
# if an error was of another kind.

import copy
import inspect
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot
from scipy.sparse import csr_array

sys.path.append(str(Path(__file__).parents[1]))  # for networks.py

from networks import Described, FactorsWithVectors, Remembering

import sklrec
from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    EASERecommender,
    IDEncoder,
    ImplicitMFRecommender,
    MFRegressor,
    ModelCheckpoint,
    ModuleRecRegressor,
    PopularityRecommender,
    SequencePadder,
    SequenceRatingRegressor,
    SequenceWindower,
    inspection,
    metrics,
    model_selection,
)
from sklrec.approximate import ApproximateItems
from sklrec.datasets import (
    ArrayRatings,
    ChunkedRatings,
    ParquetRatings,
    interactions_from_matrix,
    interactions_from_wide,
    make_ratings,
)
from sklrec.export import EXPORTED, onnx_inputs, to_onnx

matplotlib.use("agg")
ALLOWED = ValueError, TypeError, AttributeError, OSError, ImportError
# Functions of scikit-learn that check arguments, which estimators share with scikit-learn.
CHECKS = "validation.py", "_param_validation.py", "_split.py", "base.py", "_array_api.py"
X, Y = make_ratings(12, 8, 60, random_state=0)
TABLE = X[:4]
WRONG = {
    "None": None,
    "string": "abc",
    "empty string": "",
    "bytes": b"abc",
    "function": len,
    "class": dict,
    "NaN": np.nan,
    "infinity": np.inf,
    "zero": 0,
    "negative": -1,
    "fraction": 1.5,
    "huge": 10**30,
    "huge float": 1e300,
    "complex": 1j,
    "true": True,
    "empty list": [],
    "empty tuple": (),
    "empty dict": {},
    "set": {1, 2},
    "nested": [[1, 2], [3]],
    "deep": [[[1]]],
    "objects": [object(), object()],
    "Nones": [None, None],
    "strings": ["a", "b"],
    "mixture": [1, "a", None],
    "dict": {"user": [1]},
    "array": np.arange(3),
    "scalar array": np.array(3),
    "matrix": np.zeros((3, 2)),
    "cube": np.zeros((2, 2, 2)),
    "complex array": np.ones((3, 2)) * 1j,
    "times": np.arange(60).astype("datetime64[D]"),
    "NaNs": np.full(60, np.nan),
    "long": np.arange(61),
    "void": np.zeros(3, dtype=[("user", "i8")]),
    "empty frame": pd.DataFrame(),
    "frame": TABLE,
    "frame without rows": X[:0],
    "frame of objects": TABLE.assign(user=[{}, [], object(), None]),
    "two columns of one name": pd.concat([X, X], axis=1),
    "numbered columns": TABLE.set_axis(range(3), axis=1),
    "series": Y[:4],
    "index": pd.Index(["a"]),
    "categories": pd.Categorical(["a", None]),
    "periods": pd.period_range("2020", periods=3, freq="D"),
    "generator": (k for k in range(3)),
    "surrogate": ["\ud800"],
}


def fast(cls, **params):
    wanted = {"n_factors": 2, "max_epochs": 1, "hidden_size": 2, "n_iter": 3, "random_state": 0}
    if cls is ModuleRecRegressor:
        params = {"module": FactorsWithVectors, "output": "rating", **params}
    known = cls(**params).get_params()
    return cls(**{**{k: v for k, v in wanted.items() if k in known}, **params})


def of_estimator(cls, **options):
    """Calls of an estimator: their functions and valid arguments."""
    model = fast(cls, **options).fit(X, Y)

    def on_copy(name):
        return lambda **arguments: getattr(copy.copy(model), name)(**arguments)

    fit = {"X": X, "y": Y, "sample_weight": np.ones(60), "X_val": X, "y_val": Y}
    yield "fit", on_copy("fit"), fit
    further = {"return_std": False, "history": (X[:9], Y[:9])}
    known = inspect.signature(model.predict).parameters
    if getattr(model, "timestamp_index_", None) is None:
        del further["history"]
    predict = {"X": X, **{name: value for name, value in further.items() if name in known}}
    yield "predict", on_copy("predict"), predict
    if hasattr(model, "predict_rating_proba"):
        yield "predict_rating_proba", on_copy("predict_rating_proba"), {"X": X}
    yield "score", on_copy("score"), {"X": X, "y": Y, "sample_weight": np.ones(60)}
    lists = {"users": [1, 2], "n_items": 3, "exclude_seen": True, "candidates": [1, 2]}
    lists |= {"exclude": [1]}
    yield "recommend", on_copy("recommend"), lists
    if hasattr(model, "partial_fit"):
        yield "partial_fit", on_copy("partial_fit"), {"X": X, "y": Y}
    if hasattr(model, "similar_items"):
        items = {"items": [1, 2], "n_items": 2, "metric": "cosine"}
        yield "similar_items", on_copy("similar_items"), items
    if hasattr(model, "similar_users"):
        users = {"users": [1, 2], "n_users": 2, "metric": "cosine"}
        yield "similar_users", on_copy("similar_users"), users
    if hasattr(model, "fold_in"):
        new = {"X": X[:3].assign(user=-1), "y": Y[:3]}
        yield "fold_in", on_copy("fold_in"), new
        lists |= {"n_std": 1.0}
        yield "recommend with n_std", on_copy("recommend"), lists
        del lists["users"]
        yield "recommend_for", on_copy("recommend_for"), {**new, **lists}
        yield "explain", on_copy("explain"), {"users": [1, 2], "items": [2, 1]}

    def with_parameter(**params):
        return fast(cls, **options).set_params(**params).fit(X, Y)

    yield "parameters", with_parameter, fast(cls, **options).get_params()


def of_recommender(cls):
    """Calls of a recommender that learns from events."""
    model = fast(cls, threshold=2.0, confidence="log").fit(X, Y)
    weights = {"sample_weight": np.ones(60)}
    fit = {"X": X, "y": Y, **weights}
    yield "fit", lambda **arguments: copy.copy(model).fit(**arguments), fit
    yield "decision_function", model.decision_function, {"X": X}
    yield "score", model.score, {"X": X.assign(item=X["item"].to_numpy()[::-1]), "y": Y}
    if hasattr(model, "recommend_for"):
        lists = {"n_items": 3, "exclude_seen": True, "candidates": [1, 2], "exclude": [1]}
        yield "recommend_for", model.recommend_for, {**fit, **lists}
        yield "explain", model.explain, {"users": [1, 2], "items": [2, 1]}

    def with_parameter(**params):
        return fast(cls).set_params(**params).fit(X, Y)

    yield "parameters", with_parameter, fast(cls).get_params()


def of_transformer(transformer):
    model = transformer.fit(X, Y)
    for name in ("fit", "transform", "fit_transform", "inverse_transform", "partial_fit"):
        if hasattr(model, name):
            call = lambda name=name, **kwargs: getattr(copy.copy(model), name)(**kwargs)  # noqa: E731
            yield name, call, {"X": model.transform(X) if name.startswith("inv") else X}
    params = type(transformer)().get_params()
    yield "parameters", lambda **kwargs: type(transformer)(**kwargs).fit(X, Y), params


def of_functions(folder):
    lists = X[["user", "item"]].drop_duplicates()
    lists = lists.assign(rank=lists.groupby("user").cumcount() + 1)
    truth = {"y_true": lists[["user", "item"]], "y_pred": lists, "k": 5, "average": "macro"}
    for name in ("ndcg", "map", "mrr", "recall", "precision", "hit_rate"):
        more = {"gain": None} if name == "ndcg" else {}
        yield f"{name}_at_k", getattr(metrics, f"{name}_at_k"), {**truth, **more}
    yield "coverage", metrics.coverage_at_k, {"y_pred": lists, "catalog": X["item"], "k": 5}
    yield "novelty", metrics.novelty_at_k, {"y_pred": lists, "X_train": X, "k": 5}
    error = {"y_true": Y, "y_pred": Y, "sample_weight": np.ones(60)}
    yield "masked rmse", metrics.masked_root_mean_squared_error, error
    model = BiasRegressor().fit(X, Y)
    options = {"metric": "ndcg", "k": 5, "threshold": 3.0, "candidates": "all", "counts": True}
    yield "make_ranking_scorer", metrics.make_ranking_scorer, options
    scorer = metrics.make_ranking_scorer(threshold=3)
    yield "scorer", scorer, {"estimator": model, "X": X, "y": Y}
    for name in model_selection.__all__:
        cls = getattr(model_selection, name)
        yield f"{name}.split", lambda X, cls=cls: list(cls().split(X)), {"X": X}
        yield name, lambda cls=cls, **kwargs: list(cls(**kwargs).split(X)), vars(cls())
    sizes = {"n_users": 5, "n_items": 4, "n_ratings": 9, "n_factors": 2, "random_state": 0}
    yield "make_ratings", make_ratings, sizes
    yield "interactions_from_wide", interactions_from_wide, {"table": pd.DataFrame([[1, 2]])}
    matrix = {"matrix": csr_array(np.ones((2, 2))), "user_ids": [1, 2], "item_ids": [3, 4]}
    yield "interactions_from_matrix", interactions_from_matrix, matrix
    fit = fast(MFRegressor).fit
    yield "ChunkedRatings", lambda chunks: fit(ChunkedRatings(chunks)), {"chunks": [(X, Y)]}
    arrays = {"X": X.to_numpy(), "y": Y.to_numpy(), "sample_weight": None, "chunk_size": 30}
    yield "ArrayRatings", lambda **kwargs: fit(ArrayRatings(**kwargs)), arrays
    X.assign(rating=Y).to_parquet(folder / "log.parquet")
    files = {"source": folder / "log.parquet", "rating": "rating", "columns": ["user", "item"]}
    files |= {"sample_weight": None, "chunk_size": 30}
    yield "ParquetRatings", lambda **kwargs: fit(ParquetRatings(**kwargs)), files
    yield "save", sklrec.save, {"estimator": model, "path": folder / "model"}
    sklrec.save(model, folder / "model")
    yield "load", sklrec.load, {"path": folder / "model", "custom_objects": None}


def of_displays():
    """Calls of displays, which draw into new figures."""
    model = fast(BayesianMFRegressor).fit(X, Y)
    both = {"y_true": Y, "y_pred": Y[::-1]}
    of_test = {"estimator": model, "X": X, "y": Y}
    looks = {"ax": None, "line_kwargs": None}
    errors = inspection.ErrorByActivityDisplay
    shown = {"edges": None, "by": "user", **looks}
    yield "ErrorByActivity.from_estimator", errors.from_estimator, {**of_test, **shown}
    of_rows = {**both, "counts": np.arange(60)}
    yield "ErrorByActivity.from_predictions", errors.from_predictions, {**of_rows, **shown}
    predicted = inspection.PredictedRatingsDisplay
    shown = {"n_bins": 5, "box_kwargs": None, **looks}
    yield "PredictedRatings.from_estimator", predicted.from_estimator, {**of_test, **shown}
    yield "PredictedRatings.from_predictions", predicted.from_predictions, {**both, **shown}
    calibration = inspection.CalibrationDisplay
    shown = {"levels": None, "name": None, **looks}
    yield "Calibration.from_estimator", calibration.from_estimator, {**of_test, **shown}
    of_rows = {**both, "y_std": np.ones(60)}
    yield "Calibration.from_predictions", calibration.from_predictions, {**of_rows, **shown}
    shown = {"metric": "ndcg", "max_k": 5, "threshold": 3.0, "candidates": "all", **looks}
    ranking = inspection.RankingCurveDisplay.from_estimator
    yield "RankingCurve.from_estimator", ranking, {**of_test, **shown}
    history = inspection.TrainingHistoryDisplay.from_estimator
    shown = {"estimator": fast(MFRegressor).fit(X, Y), "kind": "auto", "best_kwargs": None}
    yield "TrainingHistory.from_estimator", history, {**shown, **looks}
    results = {"test_score": [-1.0, -1.1], "fit_time": [1.0, 2.0], "score_time": [1.0, 2.0]}
    shown = {"results": {"a": results}, "score": "test_score", "timed": "fit"}
    shown |= {"error_name": "RMSE", "scatter_kwargs": None, "text_kwargs": None, **looks}
    yield "AccuracyTime.from_cv_results", inspection.AccuracyTimeDisplay.from_cv_results, shown


def of_deployment(folder):
    """Calls of ONNX files, approximate lists and checkpoints."""
    model = fast(MFRegressor).fit(X, Y)
    yield "to_onnx", to_onnx, {"estimator": model, "path": folder / "model.onnx"}
    yield "onnx_inputs", onnx_inputs, {"estimator": model, "X": X}
    for cls in EXPORTED:
        exported = fast(cls).fit(X, Y)
        yield f"onnx_inputs.{cls.__name__}", lambda X, of=exported: onnx_inputs(of, X), {"X": X}
    sizes = {"estimator": model, "n_links": 4, "ef_construction": 10, "ef_search": 10}
    yield "ApproximateItems", ApproximateItems, sizes
    lists = {"users": [1, 2], "n_items": 3, "exclude_seen": True}
    yield "ApproximateItems.recommend", ApproximateItems(model).recommend, lists

    def with_checkpoint(**arguments):
        return fast(MFRegressor, callbacks=[ModelCheckpoint(**arguments)]).fit(X, Y)

    yield "ModelCheckpoint", with_checkpoint, {"path": folder / "checkpoint", "every_n_epochs": 1}


def all_calls(folder):
    """Names, functions and valid arguments of all calls."""
    regressors = BiasRegressor, MFRegressor, BayesianMFRegressor, DenseRecRegressor
    for cls in (*regressors, SequenceRatingRegressor, ModuleRecRegressor):
        yield from ((f"{cls.__name__}.{n}", f, a) for n, f, a in of_estimator(cls))
    for module in (Described, Remembering):
        for n, f, a in of_estimator(ModuleRecRegressor, module=module):
            if n != "parameters":
                yield f"{module.__name__}.{n}", f, a
    for cls in (EASERecommender, ImplicitMFRecommender, PopularityRecommender):
        yield from ((f"{cls.__name__}.{n}", f, a) for n, f, a in of_recommender(cls))
    for transformer in (IDEncoder(), SequencePadder(), SequenceWindower()):
        cls = type(transformer).__name__
        yield from ((f"{cls}.{n}", f, a) for n, f, a in of_transformer(transformer))
    yield from of_functions(folder)
    yield from of_displays()
    yield from of_deployment(folder)


def fault_of(error):
    """Description of an error that is not ours, or None."""
    frames = traceback.extract_tb(error.__traceback__)
    last = Path(frames[-1].filename)
    is_ours = "sklrec" in last.parts or "abuse" in last.parts
    is_check = "sklearn" in last.parts and last.name in CHECKS
    own = [frame for frame in frames if "sklrec" in Path(frame.filename).parts]
    is_path = last.name == "<frozen os>"  # of os.fspath
    is_style = last.name == "artist.py"  # matplotlib names arguments that it does not know
    is_others = not own or is_check or is_path or is_style or isinstance(error, OSError)
    if isinstance(error, ALLOWED) and (is_ours or is_others):
        return None
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "-"
    return f"{type(error).__name__} in {last.name}, called in {place}: {str(error)[:90]!r}"


def sweep(share=1.0, name="", seed=0):
    """Make the calls; return how often each outcome occurred, and the faults."""
    rng, counts, faults = np.random.default_rng(seed), Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        for called, call, arguments in all_calls(Path(folder)):
            for argument in arguments if called.startswith(name) else ():
                for kind, value in WRONG.items():
                    writes = called in ("save", "to_onnx", "ModelCheckpoint")
                    left_out = writes and argument == "path"
                    left_out |= (
                        argument in ("max_epochs", "n_iter") and kind == "huge"
                    )  # would not end
                    if rng.random() >= share or left_out:
                        continue
                    try:
                        with warnings.catch_warnings(action="ignore"):
                            call(**{**arguments, argument: value})
                        counts["accepted"] += 1
                    except Exception as error:
                        fault = fault_of(error)
                        counts["refused" if fault is None else "faults"] += 1
                        if fault:
                            faults.append(f"{called}({argument}={kind}): {fault}")
                    pyplot.close("all")
    return counts, faults


if __name__ == "__main__":
    counts, faults = sweep(*map(float, sys.argv[1:2]), *sys.argv[2:3])
    print(*faults, sep="\n")
    print(dict(counts))
    sys.exit(bool(faults))
