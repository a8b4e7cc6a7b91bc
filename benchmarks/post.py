"""The models of "PyTorch for Recommenders 101": as printed, trained again, and ours."""
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
from benchmarks._data import SHUFFLED, rmse
from benchmarks._measure import seconds
from benchmarks._post_models import PostDense, PostLSTM, PostMF, Training, cut_windows, train
from benchmarks._results import bar, table
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
N_FACTORS, HIDDEN, DENSE_LR, LSTM_EPOCHS = 20, 50, 0.01, 3  # the post does not give these
SEED = 0


class Result(NamedTuple):
    """RMSE on [0, 1], RMSE of the clipped predictions, and the cost of the training."""

    model: str
    source: str
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
        *reproduce_pairs(*parts[0], max_seconds),
        folds[0][MF],
        Result(DENSE, "the post", POST[DENSE]),
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
            table(
                "RMSE on the same split",
                {"Model": "", "Source": "", "On [0, 1]": ".4f", "In stars": ".3f"}
                | {"Clipped, on [0, 1]": ".4f", "Samples": ",d", "Seconds": ".2f"}
                | {"Seconds an epoch": ".2f"},
                [
                    [*r[:3], r.rmse * WIDTH, r.clipped, *(r.training or [None] * 3)]
                    for r in results
                ],
            ),
            table(
                f"sklrec, means over {SHUFFLED}",
                {"Model": "", "On [0, 1]": ".4f", "In stars": ".4f", "Fit, s": ".2f"},
                [
                    [name, mean, mean * WIDTH]
                    + [float(np.median([fold[name].training.seconds for fold in folds]))]
                    for name, mean in means.items()
                ],
            ),
        ],
    }


def fit_ours(known: pd.DataFrame, asked: pd.DataFrame) -> dict[str, Result]:
    """Fit our three estimators with their defaults."""
    found = {}
    for name, (estimator, columns) in OURS.items():
        estimator(max_epochs=1).fit(known[columns][:1_000], known["rating"][:1_000])  # warms up
        model = estimator(random_state=SEED)
        training = timed_fit(model, known[columns], known["rating"])
        found[name] = measured(name, "sklrec", asked, model.predict(asked[columns]), training)
    return found


def reproduce_pairs(
    known: pd.DataFrame, asked: pd.DataFrame, max_seconds: float
) -> Iterator[Result]:
    """Train the post's factors by its printed loop and by a corrected one, then its dense net."""
    n_rows = [max(int(log[name].max()) for log in (known, asked)) + 1 for name in PAIR]
    for name, zeroed in ((MF, False), (MF, True), (DENSE, True)):
        torch.manual_seed(SEED)
        is_mf = name == MF
        module = PostMF(*n_rows, N_FACTORS) if is_mf else PostDense(*n_rows, N_FACTORS, HIDDEN)
        training = train(
            module,
            tensors(known, *PAIR),
            tensors(known, "rating")[0],
            lr=1e-6 if is_mf else DENSE_LR,
            max_seconds=max_seconds,
            zero_gradients=zeroed,
        )
        source = f"trained again, gradients {'zeroed' if zeroed else 'never zeroed'}"
        yield measured(name, source, asked, infer(module, *tensors(asked, *PAIR)), training)


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
    yield measured(WINDOWS, "trained again", asked, prediction, training)

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
        source = f"sklrec, SequenceWindower{'(ratings=True)' if rated else ''}"
        yield measured(WINDOWS, source, asked, model.predict(asked[TIMED]), training)


def timed_fit(model: Any, X: Any, y: Any) -> Training:
    """Fit; a sample is a row of X."""
    elapsed = seconds(lambda: model.fit(X, y))
    n_epochs = (model[-1] if isinstance(model, Pipeline) else model).n_iter_
    return Training(n_epochs * len(X), elapsed, elapsed / n_epochs)


def measured(
    model: str,
    source: str,
    asked: pd.DataFrame,
    prediction: np.ndarray,
    training: Training | None = None,
) -> Result:
    """A row of the result."""
    truth = asked["rating"].to_numpy()
    errors = rmse(truth, prediction), rmse(truth, np.clip(prediction, 0, 1))
    print(f"{model}, {source}: {errors[0]:.4f}", flush=True)
    return Result(model, source, *errors, training)


def infer(module: nn.Module, *inputs: Tensor) -> np.ndarray:
    """Predictions of a module for many samples at once."""
    with torch.inference_mode():
        return module(*inputs).double().numpy()


def tensors(log: pd.DataFrame, *columns: str) -> list[Tensor]:
    """Columns as tensors, ratings in float32."""
    arrays = [log[name].to_numpy(copy=True) for name in columns]
    return [
        torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
        for array in arrays
    ]


def notes(max_seconds: float) -> list[str]:
    """The protocol, and the choices that the post leaves open."""
    return [
        "As in the post: ratings on [0, 1], torch's default start, plain SGD on the squared "
        "error, one sample a step. Matrix factorisation has 20 factors, sparse gradients and "
        "lr=1e-6. Its printed loop never zeroes the gradients, so each step uses the sum of all "
        "earlier ones. The LSTM has 64 factors, 128 hidden units, lr=0.1 and a window of 10 "
        "items a step; it predicts the rating at each position from the items up to it.",
        "The post leaves some choices open; ours are: (rating - 1) / 4; samples in random order; "
        "one epoch on the first fold of KFold(5, shuffle=True, random_state=0) for matrix "
        f"factorisation and the dense net; {N_FACTORS} factors, {HIDDEN} hidden units and "
        f"lr={DENSE_LR} in the dense net; {LSTM_EPOCHS} epochs for the LSTM, with windows that do "
        "not overlap, cut from the ratings of each user in time order. The last window of each "
        "user is held out.",
        f"A loop of the post stops after {max_seconds:g} s; the seconds of an epoch are "
        "extrapolated from its samples. Its predictions are not clipped; ours are.",
        "Our models have their defaults, except that for windows they read sequences, of items "
        "only if the row does not name ratings. A sample is an interaction or a window. With "
        "SequenceWindower a held-out row is read after the nine items before the split; in the "
        "post's way it is read after the earlier items of its own window.",
    ]
