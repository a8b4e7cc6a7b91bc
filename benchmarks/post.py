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
POSTS_SETTINGS = {
    MF: {"n_factors": N_FACTORS, "biased": False},
    DENSE: {
        "n_factors": N_FACTORS,
        "hidden_layer_sizes": (HIDDEN,),
        "products": False,
        "biased": False,
    },
    LSTM: {"n_factors": 64, "hidden_size": 128, "items_only": True, "dropout": 0.0}
    | {"max_epochs": LSTM_EPOCHS},
}
POSTS_SETTINGS = {name: {**s, "init_std": 1.0, "alpha": 0.0} for name, s in POSTS_SETTINGS.items()}
# Chosen on the ten ratings of each user before the last ten, for the first 60 and 500 users.
FAIR_STD, FAIR_LR, FAIR_BATCH, FAIR_EPOCHS = 0.1, 0.01, 64, 3
FAIR, SETTINGS = "a fair loop", "sklrec, the post's settings"
SAME_WINDOWS = "sklrec, the same windows"
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
            "our predictions are clipped. Our models have their defaults, or the layers and sizes "
            "of the post, a start of standard deviation 1 and no penalty. With SequenceWindower a "
            "held-out row is read after the nine items before the split.",
            f"The fair loop trains the post's networks for {FAIR_EPOCHS} epochs by Adam with "
            f"lr={FAIR_LR}, on batches of {FAIR_BATCH} rows or {FAIR_BATCH // 8} windows, from "
            f"embeddings with a standard deviation of {FAIR_STD}. Only the seconds of training "
            "count.",
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
    """Train the post's factors and dense net by its loops, by a fair one and by our estimators."""
    n_rows = [max(int(log[name].max()) for log in (known, asked)) + 1 for name in PAIR]
    pairs, ratings = tensors(known, *PAIR), tensors(known, "rating")[0]
    for name, lr, is_zeroed in ((MF, 1e-6, False), (MF, 1e-6, True), (DENSE, DENSE_LR, True)):
        torch.manual_seed(SEED)
        module = PostPairs(*n_rows, is_dense=name == DENSE)
        optimizer = torch.optim.SGD(module.parameters(), lr=lr)
        took = train(module, pairs, ratings, optimizer, zero_gradients=is_zeroed)
        source = "trained again"
        if name == MF:
            source += f", gradients {'zeroed' if is_zeroed else 'never zeroed'}"
        yield measured(name, source, asked, infer(module, *tensors(asked, *PAIR)), took)
    for name, (estimator, columns) in OURS.items():
        if name == LSTM:
            continue
        module = PostPairs(*n_rows, is_dense=name == DENSE)
        took = train_fairly(module, pairs, ratings, FAIR_BATCH)
        yield measured(name, FAIR, asked, infer(module, *tensors(asked, *PAIR)), took)
        model = estimator(random_state=SEED, **POSTS_SETTINGS[name])
        took = seconds(lambda m=model, c=columns: m.fit(known[c], known["rating"]))
        yield measured(name, SETTINGS, asked, model.predict(asked[columns]), took)


def compare_windows(log: pd.DataFrame) -> Iterator[Result]:
    """Predict the last window of each user, after training on all others."""
    windows, last = cut_windows(log, LENGTH)
    known, asked = log.iloc[np.concatenate(windows)], log.iloc[last.ravel()]
    yield measured(WINDOWS, "item means", asked, item_means(known, asked))

    items = tensors(log, "item")[0]
    samples, targets = padded(log, windows, "post")
    for is_fair in (False, True):
        torch.manual_seed(SEED)
        module = PostLSTM(int(items.max()) + 1)
        if is_fair:
            took = train_fairly(module, [samples], targets, FAIR_BATCH // 8)
        else:
            optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
            took = train(module, [samples], targets, optimizer, n_epochs=LSTM_EPOCHS)
        source = FAIR if is_fair else "trained again"
        yield measured(WINDOWS, source, asked, infer(module, items[last]).ravel(), took)

    X, y = (values.numpy() for values in padded(log, windows, "pre"))
    for source, settings in ((SETTINGS, POSTS_SETTINGS[LSTM]), (SAME_WINDOWS, {})):
        settings = {"items_only": True, "random_state": SEED, **settings}
        model = SequenceRatingRegressor(input="sequences", **settings)
        took = seconds(lambda m=model: m.fit(X, y))
        yield measured(WINDOWS, source, asked, model.predict(items[last].numpy()).ravel(), took)

    for rated in (False, True):
        pipeline = make_pipeline(
            IDEncoder(),
            SequenceWindower(max_len=LENGTH, ratings=rated),
            SequenceRatingRegressor(input="sequences", items_only=not rated, random_state=SEED),
        )
        took = seconds(lambda p=pipeline: p.fit(known[TIMED], known["rating"]))
        source = f"sklrec, SequenceWindower{'(ratings=True)' if rated else ''}"
        yield measured(WINDOWS, source, asked, pipeline.predict(asked[TIMED]), took)

    model = SequenceRatingRegressor(random_state=SEED)
    took = seconds(lambda: model.fit(known[TIMED], known["rating"]))
    yield measured(WINDOWS, "sklrec, whole histories", asked, model.predict(asked[TIMED]), took)


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


def padded(log: pd.DataFrame, windows: list[np.ndarray], padding: str) -> tuple[Tensor, Tensor]:
    """Items of the windows, 0 where a window is shorter, and ratings, NaN there."""
    items = [log["item"].to_numpy()[rows].tolist() for rows in windows]
    X = SequencePadder(max_len=LENGTH, padding=padding).fit_transform(items)
    y = np.full(X.shape, np.nan, dtype=np.float32)
    y[X > 0] = log["rating"].to_numpy()[np.concatenate(windows)]
    return torch.from_numpy(X), torch.from_numpy(y)  # (n_windows, LENGTH) each


def train(
    module: nn.Module,
    inputs: Sequence[Tensor],
    targets: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    batch_size: int = 1,
    n_epochs: int = 1,
    zero_gradients: bool = True,
) -> float:
    """Train on the squared error of samples in random order, and return the seconds it took."""

    def loop() -> None:
        for _ in range(n_epochs):
            for rows in torch.randperm(len(targets)).split(batch_size):
                if zero_gradients:
                    optimizer.zero_grad()
                errors = module(*[values[rows] for values in inputs]) - targets[rows]
                errors[~errors.isnan()].square().mean().backward()
                optimizer.step()

    with torch_threads(1):
        return seconds(loop)


def train_fairly(
    module: nn.Module, inputs: Sequence[Tensor], targets: Tensor, batch_size: int
) -> float:
    """Train by Adam, from small embeddings."""
    torch.manual_seed(SEED)
    tables = [layer for layer in module.modules() if isinstance(layer, nn.Embedding)]
    for layer in tables:
        nn.init.normal_(layer.weight, std=FAIR_STD)
    adam = torch.optim.SparseAdam if tables[0].sparse else torch.optim.Adam
    optimizer = adam(module.parameters(), lr=FAIR_LR)
    return train(module, inputs, targets, optimizer, batch_size=batch_size, n_epochs=FAIR_EPOCHS)


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
