"""Calls public functions with wrong arguments, and lists the errors that are not our own."""
# SPDX-License-Identifier: BSD-3-Clause

# python tests/abuse/wrong_calls.py [SHARE]
#
# Each argument of each call is replaced by each wrong value. A call may succeed, or raise an error
# of an allowed class whose traceback ends in sklrec or in a check of scikit-learn. SHARE below 1
# makes only some of the calls. The exit status is 1 if an error was of another kind.

import copy
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

import sklrec
from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequencePadder,
    SequenceRatingRegressor,
    SequenceWindower,
    metrics,
    model_selection,
)
from sklrec.datasets import (
    ArrayRatings,
    ChunkedRatings,
    ParquetRatings,
    interactions_from_matrix,
    interactions_from_wide,
    make_ratings,
)

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
    known = cls().get_params()
    return cls(**{**{k: v for k, v in wanted.items() if k in known}, **params})


def of_estimator(cls):
    """Calls of an estimator: their functions and valid arguments."""
    model = fast(cls).fit(X, Y)

    def on_copy(name):
        return lambda **arguments: getattr(copy.copy(model), name)(**arguments)

    fit = {"X": X, "y": Y, "sample_weight": np.ones(60), "X_val": X, "y_val": Y}
    yield "fit", on_copy("fit"), fit
    yield "predict", on_copy("predict"), {"X": X}
    yield "score", on_copy("score"), {"X": X, "y": Y, "sample_weight": np.ones(60)}
    lists = {"users": [1, 2], "n_items": 3, "exclude_seen": True, "candidates": [1, 2]}
    lists |= {"exclude": [1]}
    yield "recommend", on_copy("recommend"), lists
    if hasattr(model, "partial_fit"):
        yield "partial_fit", on_copy("partial_fit"), {"X": X, "y": Y}
    if hasattr(model, "similar_items"):
        items = {"items": [1, 2], "n_items": 2, "metric": "cosine"}
        yield "similar_items", on_copy("similar_items"), items
    if hasattr(model, "fold_in"):
        new = {"X": X[:3].assign(user=-1), "y": Y[:3]}
        yield "fold_in", on_copy("fold_in"), new
        lists |= {"n_std": 1.0}
        yield "recommend with n_std", on_copy("recommend"), lists
        del lists["users"]
        yield "recommend_for", on_copy("recommend_for"), {**new, **lists}
        yield "explain", on_copy("explain"), {"users": [1, 2], "items": [2, 1]}

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
    matrix = {"matrix": np.ones((2, 2)), "users": [1, 2], "items": [3, 4]}
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


def all_calls(folder):
    """Names, functions and valid arguments of all calls."""
    regressors = BiasRegressor, MFRegressor, BayesianMFRegressor, DenseRecRegressor
    for cls in (*regressors, SequenceRatingRegressor):
        yield from ((f"{cls.__name__}.{n}", f, a) for n, f, a in of_estimator(cls))
    for transformer in (IDEncoder(), SequencePadder(), SequenceWindower()):
        cls = type(transformer).__name__
        yield from ((f"{cls}.{n}", f, a) for n, f, a in of_transformer(transformer))
    yield from of_functions(folder)


def fault_of(error):
    """Description of an error that is not ours, or None."""
    frames = traceback.extract_tb(error.__traceback__)
    last = Path(frames[-1].filename)
    is_ours = "sklrec" in last.parts or "abuse" in last.parts
    is_check = "sklearn" in last.parts and last.name in CHECKS
    own = [frame for frame in frames if "sklrec" in Path(frame.filename).parts]
    is_path = last.name == "<frozen os>"  # of os.fspath
    is_others = not own or is_check or is_path or isinstance(error, OSError)
    if isinstance(error, ALLOWED) and (is_ours or is_others):
        return None
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "-"
    return f"{type(error).__name__} in {last.name}, called in {place}: {str(error)[:90]!r}"


def sweep(share=1.0, seed=0):
    """Make the calls; return how often each outcome occurred, and the faults."""
    rng, counts, faults = np.random.default_rng(seed), Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        for name, call, arguments in all_calls(Path(folder)):
            for argument in arguments:
                for kind, value in WRONG.items():
                    if rng.random() >= share or (name == "save" and argument == "path"):
                        continue
                    try:
                        with warnings.catch_warnings(action="ignore"):
                            call(**{**arguments, argument: value})
                        counts["accepted"] += 1
                    except Exception as error:
                        fault = fault_of(error)
                        counts["refused" if fault is None else "faults"] += 1
                        if fault:
                            faults.append(f"{name}({argument}={kind}): {fault}")
    return counts, faults


if __name__ == "__main__":
    counts, faults = sweep(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
    print(*faults, sep="\n")
    print(dict(counts))
    sys.exit(bool(faults))
