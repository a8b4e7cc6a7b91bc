"""The models of "PyTorch for Recommenders 101": as printed, trained again, and ours."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

from benchmarks._baselines import item_means
from benchmarks._data import SHUFFLED, described_movielens, folds, rmse
from benchmarks._measure import seconds
from benchmarks._results import bar, table
from benchmarks._torch import torch_threads
from sklrec import DenseRecRegressor, IDEncoder, MFRegressor, SequenceRatingRegressor
from sklrec.preprocessing import SequencePadder, SequenceWindower

PAIR, TIMED = ["user", "item"], ["user", "item", "timestamp"]
MF, DENSE, LSTM = "Matrix factorisation", "Dense net", "LSTM"
POST = {MF: 0.66, DENSE: 0.28, LSTM: 0.43}
LIMITS = {MF: 0.2283, DENSE: 0.2303, LSTM: 0.2343}
OURS = {MF: (MFRegressor, PAIR), DENSE: (DenseRecRegressor, PAIR)}
OURS |= {LSTM: (SequenceRatingRegressor, TIMED)}
LENGTH = 10
WINDOWS = f"LSTM, windows of {LENGTH} items"
LOWEST, WIDTH = 1.0, 4.0  # of the rating scale, which becomes [0, 1]
N_FACTORS, HIDDEN, DENSE_LR, LSTM_EPOCHS = 20, 50, 0.01, 3  # the post does not give these
SEED = 0


class Result(NamedTuple):
    """RMSE on [0, 1], RMSE of the clipped predictions, and the seconds of the training."""

    model: str
    source: str
    rmse: float
    clipped: float | None = None
    seconds: float | None = None


class PostPairs(nn.Module):
    """Products of N(0, 1) factors with sparse gradients, or a net on the concatenated factors."""

    def __init__(self, n_users: int, n_items: int, is_dense: bool):
        super().__init__()
        self.user_factors = nn.Embedding(n_users, N_FACTORS, sparse=not is_dense)
        self.item_factors = nn.Embedding(n_items, N_FACTORS, sparse=not is_dense)
        layers = nn.Linear(2 * N_FACTORS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
        self.layers = nn.Sequential(*layers) if is_dense else None

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        p, q = self.user_factors(users), self.item_factors(items)
        if self.layers is None:
            return (p * q).sum(-1)
        return self.layers(torch.cat([p, q], dim=-1)).squeeze(-1)


class PostLSTM(nn.Module):
    """A rating at each position of a window, from the items up to this position."""

    def __init__(self, n_codes: int):
        super().__init__()
        self.item_factors = nn.Embedding(n_codes, 64, padding_idx=0)
        self.lstm = nn.LSTM(64, 128, batch_first=True)
        self.output = nn.Linear(128, 1)

    def forward(self, windows: Tensor) -> Tensor:
        states, _ = self.lstm(self.item_factors(windows))  # from zero states at each call
        return self.output(states).squeeze(-1)


def run(*, quick: bool = False) -> dict[str, Any]:
    """Train the post's models and ours on the same rows."""
    log = described_movielens()[[*TIMED, "rating"]]
    log["rating"] = (log["rating"] - LOWEST) / WIDTH
    log = log[log["user"] <= 60] if quick else log
    parts = list(folds(log, shuffle=True))[: 1 if quick else 5]
    ours = [fit_ours(*part) for part in parts]
    results = [
        *(Result(name, "the post", error) for name, error in POST.items()),
        *reproduce_pairs(*parts[0]),
        *ours[0].values(),
        *compare_windows(log),
    ]
    means = {name: float(np.mean([fold[name].rmse for fold in ours])) for name in OURS}
    forms = {"On [0, 1]": ".4f", "In stars": ".3f"}
    return {
        "title": 'The models of "PyTorch for Recommenders 101" on MovieLens 100K',
        "notes": [
            "As in the post: ratings on [0, 1], plain SGD, one sample a step. Its loop for matrix "
            "factorisation never zeroes the gradients: a step uses the sum of all earlier ones. "
            "The LSTM predicts the rating at each position of a window from the items up to it.",
            f"Our choices: one epoch on the first fold of {SHUFFLED}; {N_FACTORS} factors, "
            f"{HIDDEN} hidden units and lr={DENSE_LR} in the dense net; {LSTM_EPOCHS} epochs for "
            "the LSTM, windows that do not overlap, the last window of each user held out. Only "
            "our predictions are clipped. Our models have their defaults. With SequenceWindower "
            "a held-out row is read after the nine items before the split.",
        ],
        "bars": [
            bar(f"{name}, mean over folds; the post: {POST[name]}", mean, LIMITS[name], ".4f")
            for name, mean in means.items()
        ],
        "tables": [
            table(
                "RMSE on the same split",
                {"Model": "", "Source": ""} | forms | {"Clipped": ".4f", "Seconds": ".2f"},
                [[*r[:3], r.rmse * WIDTH, *r[3:]] for r in results],
            )
        ],
    }


def fit_ours(known: pd.DataFrame, asked: pd.DataFrame) -> dict[str, Result]:
    found = {}
    for name, (estimator, columns) in OURS.items():
        estimator(max_epochs=1).fit(known[columns][:1_000], known["rating"][:1_000])  # warms up
        model = estimator(random_state=SEED)
        took = seconds(lambda m=model, c=columns: m.fit(known[c], known["rating"]))
        found[name] = measured(name, "sklrec", asked, model.predict(asked[columns]), took)
    return found


def reproduce_pairs(known: pd.DataFrame, asked: pd.DataFrame) -> Iterator[Result]:
    """Train the post's factors by its printed loop and by a corrected one, then its dense net."""
    n_rows = [max(int(log[name].max()) for log in (known, asked)) + 1 for name in PAIR]
    for name, lr, is_zeroed in ((MF, 1e-6, False), (MF, 1e-6, True), (DENSE, DENSE_LR, True)):
        torch.manual_seed(SEED)
        module = PostPairs(*n_rows, is_dense=name == DENSE)
        ratings = tensors(known, "rating")[0]
        took = seconds(lambda: train(module, tensors(known, *PAIR), ratings, lr, is_zeroed))  # noqa: B023
        source = f"trained again, gradients {'zeroed' if is_zeroed else 'never zeroed'}"
        yield measured(name, source, asked, infer(module, *tensors(asked, *PAIR)), took)


def compare_windows(log: pd.DataFrame) -> Iterator[Result]:
    """Predict the last window of each user, after training on all others."""
    windows, last = cut_windows(log, LENGTH)
    known, asked = log.iloc[np.concatenate(windows)], log.iloc[last.ravel()]
    yield measured(WINDOWS, "item means", asked, item_means(known, asked))

    torch.manual_seed(SEED)
    items, ratings = tensors(log, "item", "rating")
    module = PostLSTM(int(items.max()) + 1)
    samples = [items[rows] for rows in windows] * LSTM_EPOCHS
    targets = [ratings[rows] for rows in windows] * LSTM_EPOCHS
    took = seconds(lambda: train(module, [samples], targets, 0.1))
    yield measured(WINDOWS, "trained again", asked, infer(module, items[last]).ravel(), took)

    X = SequencePadder(max_len=LENGTH).fit_transform([items[rows].tolist() for rows in windows])
    y = np.full(X.shape, np.nan)
    y[X > 0] = known["rating"]
    model = SequenceRatingRegressor(input="sequences", items_only=True, random_state=SEED)
    took = seconds(lambda: model.fit(X, y))
    prediction = model.predict(items[last].numpy()).ravel()
    yield measured(WINDOWS, "sklrec, the same windows", asked, prediction, took)

    for rated in (False, True):
        pipeline = make_pipeline(
            IDEncoder(),
            SequenceWindower(max_len=LENGTH, ratings=rated),
            SequenceRatingRegressor(input="sequences", items_only=not rated, random_state=SEED),
        )
        took = seconds(lambda p=pipeline: p.fit(known[TIMED], known["rating"]))
        source = f"sklrec, SequenceWindower{'(ratings=True)' if rated else ''}"
        yield measured(WINDOWS, source, asked, pipeline.predict(asked[TIMED]), took)


def cut_windows(log: pd.DataFrame, length: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Positions of the rows of each window, and of each user's last window, which is held out."""
    rows = np.lexsort((log["timestamp"], log["user"]))
    users = log["user"].to_numpy()[rows]
    histories = np.split(rows, np.flatnonzero(users[1:] != users[:-1]) + 1)
    windows = [
        history[start : min(start + length, len(history) - length)]
        for history in histories
        for start in range(0, len(history) - length, length)
    ]
    return windows, np.stack([history[-length:] for history in histories])


def train(
    module: nn.Module,
    inputs: Sequence[Sequence[Tensor]],
    targets: Sequence[Tensor],
    lr: float,
    zero_gradients: bool = True,
) -> None:
    """Train by plain SGD on the squared error, one sample a step, in random order."""
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    with torch_threads(1):
        for row in torch.randperm(len(targets)).tolist():
            if zero_gradients:
                optimizer.zero_grad()
            prediction = module(*[values[row] for values in inputs])
            nn.functional.mse_loss(prediction, targets[row]).backward()
            optimizer.step()


def measured(
    model: str, source: str, asked: pd.DataFrame, prediction: np.ndarray, took: float | None = None
) -> Result:
    """A row of the result."""
    truth = asked["rating"].to_numpy()
    errors = rmse(truth, prediction), rmse(truth, np.clip(prediction, 0, 1))
    print(f"{model}, {source}: {errors[0]:.4f}", flush=True)
    return Result(model, source, *errors, took)


@torch.inference_mode()
def infer(module: nn.Module, *inputs: Tensor) -> np.ndarray:
    return module(*inputs).double().numpy()


def tensors(log: pd.DataFrame, *columns: str) -> list[Tensor]:
    found = [torch.from_numpy(log[name].to_numpy(copy=True)) for name in columns]
    return [column.float() if column.is_floating_point() else column.long() for column in found]
