"""The models of "PyTorch for Recommenders 101": as printed, trained anew, and ours."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor, nn

from benchmarks._baselines import item_means
from benchmarks._data import rmse
from benchmarks._measure import seconds
from benchmarks._post_models import PostDense, PostLSTM, PostMF, Training, cut_windows, train
from benchmarks._results import bar
from sklrec import DenseRecRegressor, IDEncoder, MFRegressor, SequenceRatingRegressor
from sklrec.datasets import fetch_movielens
from sklrec.preprocessing import SequencePadder, SequenceWindower

PAIR, TIMED = ["user", "item"], ["user", "item", "timestamp"]
MF, DENSE, LSTM = "Matrix factorisation", "Dense net", "LSTM"
POST = {MF: 0.66, DENSE: 0.28, LSTM: 0.43}
LIMITS = {MF: 0.2283, DENSE: 0.2303, LSTM: 0.2343}
OURS = {
    MF: (MFRegressor, PAIR),
    DENSE: (DenseRecRegressor, PAIR),
    LSTM: (SequenceRatingRegressor, TIMED),
}
LENGTH = 10
WINDOWS = f"LSTM, windows of {LENGTH} items"
LOWEST, WIDTH = 1.0, 4.0  # of the rating scale, which becomes [0, 1]
# What the post leaves unsaid.
N_FACTORS, HIDDEN, DENSE_LR, LSTM_EPOCHS = 20, 50, 0.01, 3
SEED = 0


class Result(NamedTuple):
    """RMSE on [0, 1], that of predictions clipped to it, and what the training took."""

    model: str
    whose: str
    rmse: float
    clipped: float | None = None
    training: Training | None = None


def run(*, quick: bool = False) -> dict[str, Any]:
    """Train the post's models and ours on the same rows."""
    X, y = fetch_movielens("100k", return_X_y=True)
    log = X.assign(rating=(y - LOWEST) / WIDTH)
    splits = KFold(5, shuffle=True, random_state=0).split(log)
    parts = [(log.iloc[known], log.iloc[asked]) for known, asked in splits][: 1 if quick else 5]
    max_seconds = 2.0 if quick else 60.0
    folds = [fit_ours(*part) for part in parts]
    results = [
        Result(MF, "the post", POST[MF]),
        *reproduce_mf(*parts[0], max_seconds),
        folds[0][MF],
        Result(DENSE, "the post", POST[DENSE]),
        reproduce_dense(*parts[0], max_seconds),
        folds[0][DENSE],
        Result(WINDOWS, "the post", POST[LSTM]),
        *compare_windows(log, max_seconds),
    ]
    means = {name: float(np.mean([fold[name].rmse for fold in folds])) for name in OURS}
    return {
        "title": 'The models of "PyTorch for Recommenders 101" on MovieLens 100K',
        "notes": notes(max_seconds),
        "bars": [
            bar(f"{name}, mean over folds; the post: {POST[name]}", mean, LIMITS[name], ".4f")
            for name, mean in means.items()
        ],
        "tables": [
            rmse_table(results),
            seconds_table(results),
            folds_table([result for fold in folds for result in fold.values()]),
        ],
    }


def fit_ours(known: pd.DataFrame, asked: pd.DataFrame) -> dict[str, Result]:
    """Our three estimators with their defaults; the sequence one reads what is earlier."""
    found = {}
    for name, (estimator, columns) in OURS.items():
        estimator(max_epochs=1).fit(known[columns][:1_000], known["rating"][:1_000])  # warms up
        model = estimator(random_state=SEED)
        training = timed_fit(model, known[columns], known["rating"])
        found[name] = measured(name, "sklrec", asked, model.predict(asked[columns]), training)
    return found


def reproduce_mf(known: pd.DataFrame, asked: pd.DataFrame, max_seconds: float) -> Iterator[Result]:
    """Train the post's factors by its printed loop, and with the line that the loop lacks."""
    for zeroed in (False, True):
        torch.manual_seed(SEED)
        module = PostMF(*table_sizes(known, asked), N_FACTORS)
        training = train(
            module,
            tensors(known, *PAIR),
            tensors(known, "rating")[0],
            lr=1e-6,
            max_seconds=max_seconds,
            zero_gradients=zeroed,
        )
        whose = f"trained anew, gradients {'zeroed' if zeroed else 'never zeroed'}"
        yield measured(MF, whose, asked, infer(module, *tensors(asked, *PAIR)), training)


def reproduce_dense(known: pd.DataFrame, asked: pd.DataFrame, max_seconds: float) -> Result:
    """Train the post's dense net by its loop."""
    torch.manual_seed(SEED)
    module = PostDense(*table_sizes(known, asked), N_FACTORS, HIDDEN)
    training = train(
        module,
        tensors(known, *PAIR),
        tensors(known, "rating")[0],
        lr=DENSE_LR,
        max_seconds=max_seconds,
    )
    return measured(DENSE, "trained anew", asked, infer(module, *tensors(asked, *PAIR)), training)


def compare_windows(log: pd.DataFrame, max_seconds: float) -> Iterator[Result]:
    """Predict each user's last window, after training on all others."""
    windows, last = cut_windows(log, LENGTH)
    known, asked = log.iloc[np.concatenate(windows)], log.iloc[last.ravel()]
    yield measured(WINDOWS, "item means", asked, item_means(known, asked))

    torch.manual_seed(SEED)
    items, ratings = tensors(log, "item", "rating")
    module = PostLSTM(64, 128, int(items.max()) + 1)
    training = train(
        module,
        [[items[rows] for rows in windows]],
        [ratings[rows] for rows in windows],
        lr=0.1,
        n_epochs=LSTM_EPOCHS,
        max_seconds=max_seconds,
    )
    prediction = infer(module, items[last]).ravel()
    yield measured(WINDOWS, "trained anew", asked, prediction, training)

    X = SequencePadder(max_len=LENGTH).fit_transform([items[rows].tolist() for rows in windows])
    y = np.full(X.shape, np.nan)
    y[X > 0] = known["rating"]
    model = SequenceRatingRegressor(input="sequences", items_only=True, random_state=SEED)
    training = timed_fit(model, X, y)
    prediction = model.predict(items[last].numpy()).ravel()
    yield measured(WINDOWS, "sklrec, the same windows", asked, prediction, training)

    for rated in (False, True):
        model = make_pipeline(
            IDEncoder(),
            SequenceWindower(max_len=LENGTH, ratings=rated),
            SequenceRatingRegressor(input="sequences", items_only=not rated, random_state=SEED),
        )
        training = timed_fit(model, known[TIMED], known["rating"])
        whose = f"sklrec, SequenceWindower{'(ratings=True)' if rated else ''}"
        yield measured(WINDOWS, whose, asked, model.predict(asked[TIMED]), training)


def timed_fit(model: Any, X: Any, y: Any) -> Training:
    """Fit; a sample is a row of X."""
    elapsed = seconds(lambda: model.fit(X, y))
    n_epochs = (model[-1] if isinstance(model, Pipeline) else model).n_iter_
    return Training(n_epochs * len(X), elapsed, elapsed / n_epochs)


def measured(
    model: str,
    whose: str,
    asked: pd.DataFrame,
    prediction: np.ndarray,
    training: Training | None = None,
) -> Result:
    """A row of the result."""
    truth = asked["rating"].to_numpy()
    errors = rmse(truth, prediction), rmse(truth, np.clip(prediction, 0, 1))
    result = Result(model, whose, *errors, training)
    print(f"{model}, {whose}: {result.rmse:.4f}", flush=True)
    return result


def infer(module: nn.Module, *inputs: Tensor) -> np.ndarray:
    """Predictions of a module for many samples at once."""
    with torch.inference_mode():
        return module(*inputs).double().numpy()


def tensors(log: pd.DataFrame, *columns: str) -> list[Tensor]:
    """Columns as tensors, ratings in torch's own precision."""
    arrays = [log[name].to_numpy(copy=True) for name in columns]
    return [
        torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
        for array in arrays
    ]


def table_sizes(*logs: pd.DataFrame) -> list[int]:
    """Rows that tables need if MovieLens' own numbers are the codes."""
    return [max(int(log[name].max()) for log in logs) + 1 for name in PAIR]


def notes(max_seconds: float) -> list[str]:
    """What was done, and what of it was our choice."""
    return [
        "As in the post: ratings on [0, 1], torch's default start, plain SGD on the squared "
        "error, one sample a step. Matrix factorisation has 20 factors, sparse gradients and "
        "lr=1e-6; its printed loop never zeroes the gradients, so that each step goes by the sum "
        "of all so far. The LSTM has 64 factors, 128 hidden units, lr=0.1 and a window of 10 "
        "items a step; it predicts the rating at each position from the items up to it.",
        "What the post leaves unsaid is our choice: (rating - 1) / 4; samples in random order; "
        "for matrix factorisation and the dense net one epoch on the first fold of KFold(5, "
        f"shuffle=True, random_state=0); {N_FACTORS} factors, {HIDDEN} hidden units and "
        f"lr={DENSE_LR} in the dense net; for the LSTM {LSTM_EPOCHS} epochs, windows that do "
        "not overlap, cut from each user's ratings in time order, and the last window of each "
        "user held out.",
        f"A loop of the post's stops after {max_seconds:g} s, done or not; the seconds of an "
        "epoch are extrapolated from its samples. Its predictions are not clipped; ours are.",
        "Ours are at their defaults, except that for windows they read sequences, of items only "
        "unless ratings are named. A sample is a row that fit is given: an interaction, or a "
        "window. With SequenceWindower a held-out row is read after the nine items before the "
        "split; as the post does it, after those before it in its own window.",
    ]


def rmse_table(results: list[Result]) -> dict[str, Any]:
    """RMSE on both scales."""
    return {
        "title": "RMSE on the same split",
        "columns": {
            "Model": "",
            "Whose": "",
            "On [0, 1]": ".4f",
            "In stars": ".3f",
            "Clipped, on [0, 1]": "",
        },
        "rows": [
            [
                result.model,
                result.whose,
                result.rmse,
                result.rmse * WIDTH,
                "" if result.clipped is None else f"{result.clipped:.4f}",
            ]
            for result in results
        ],
    }


def seconds_table(results: list[Result]) -> dict[str, Any]:
    """What the trainings took."""
    return {
        "title": "Seconds",
        "columns": {
            "Model": "",
            "Whose": "",
            "Samples": ",d",
            "Seconds": ".2f",
            "Seconds an epoch": ".2f",
        },
        "rows": [
            [result.model, result.whose, *result.training]
            for result in results
            if result.training is not None
        ],
    }


def folds_table(results: list[Result]) -> dict[str, Any]:
    """Ours on all folds."""
    found = pd.DataFrame(
        [(result.model, result.rmse, result.training.seconds) for result in results],
        columns=["model", "rmse", "seconds"],
    ).groupby("model", sort=False)
    return {
        "title": "sklrec, means over KFold(5, shuffle=True, random_state=0)",
        "columns": {"Model": "", "On [0, 1]": ".4f", "In stars": ".4f", "Fit, s": ".2f"},
        "rows": [
            [model, rows["rmse"].mean(), rows["rmse"].mean() * WIDTH, rows["seconds"].median()]
            for model, rows in found
        ],
    }
