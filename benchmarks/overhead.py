"""An epoch of `MFRegressor` beside a bare torch loop with the same arithmetic."""
# SPDX-License-Identifier: BSD-3-Clause

from time import perf_counter
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from benchmarks._data import movielens, rmse
from benchmarks._measure import alternate
from benchmarks._results import bar, table
from benchmarks._torch import Clock, torch_threads
from sklrec import IDEncoder, MFRegressor

SEED = 0
SHARE_OF_AVERAGE = 0.8  # MFRegressor limits the steps of a row by this share of its average


def run(*, quick: bool = False) -> dict[str, Any]:
    """Alternate both with the same seed, and check that they end at the same model."""
    log = movielens()
    X, y = log[["user", "item"]], log["rating"].to_numpy()
    model = MFRegressor(random_state=SEED, rating_scale=None).fit(X, y)
    net = model.net_
    settings = {
        "n_factors": model.user_factors_.shape[1],
        "init_std": model.module_.init_std,
        "alpha": net.alpha,
        "lr": net.lr,
        "batch_size": net.batch_size,
        "max_epochs": net.max_epochs,
    }
    codes = IDEncoder().fit_transform(X)
    users, items = (torch.from_numpy(codes[name].to_numpy(copy=True)) for name in ("user", "item"))

    def ours() -> float:
        clock = Clock()
        MFRegressor(random_state=SEED, callbacks=[clock]).fit(X, y)
        return clock.seconds / net.max_epochs

    def bare() -> float:
        with torch_threads(1):
            return bare_loop(users, items, y, **settings)[0] / net.max_epochs

    times = alternate({"MFRegressor": ours, "bare torch loop": bare}, 3 if quick else 15)
    _, predictions = bare_loop(users, items, y, **settings)
    errors = [rmse(y, model.predict(X)), rmse(y, predictions)]
    if abs(errors[0] - errors[1]) > 1e-3:
        raise RuntimeError(f"The arithmetic differs: the training RMSEs are {errors}.")
    epoch, loop = times.values()
    return {
        "title": "Overhead of an epoch",
        "notes": [
            "MFRegressor with default parameters on MovieLens 100K, through skorch, beside a "
            "plain loop of torch calls that makes the same updates, with a row of factors for "
            "each rating. The training alone, without encoding; medians of runs that alternate. "
            "MFRegressor gives one thread to a batch of this size. "
            + ", ".join(f"{name}={value:g}" for name, value in settings.items())
            + "."
        ],
        "bars": [bar("Epoch of MFRegressor over a bare loop's", epoch / loop, 1.2, ".3f")],
        "tables": [
            table(
                "Seconds an epoch",
                {"": "", "Seconds": ".4f", "Training RMSE at the end": ".5f"},
                [[*found, error] for found, error in zip(times.items(), errors, strict=True)],
            )
        ],
    }


def bare_loop(
    users, items, ratings, n_factors, init_std, alpha, lr, batch_size, max_epochs
) -> tuple[float, np.ndarray]:
    """Seconds of the epochs, and predictions for the training pairs."""
    mean, std = ratings.mean(), ratings.std()
    target = torch.from_numpy(((ratings - mean) / std).astype(np.float32))
    generator = torch.Generator().manual_seed(int(check_random_state(SEED).randint(2**31 - 1)))
    factors, biases, limits = [], [], []
    for codes in (users, items):
        n_rows = int(codes.max()) + 1
        rows = torch.randn(n_rows, n_factors, generator=generator).mul_(init_std)
        rows[0] = 0
        load = torch.bincount(codes, minlength=n_rows).float() * (batch_size / len(codes))
        factors.append(rows)
        biases.append(torch.zeros(n_rows))
        limits.append(SHARE_OF_AVERAGE / ((1 + alpha) * load).clamp(min=1e-12))
    step, n_steps = 0, max_epochs * -(-len(target) // batch_size)

    start = perf_counter()
    for _ in range(max_epochs):
        order = torch.randperm(len(target), generator=generator)
        epoch = [c.index_select(0, order).split(batch_size) for c in (users, items, target)]
        for *codes, wanted in zip(*epoch, strict=True):
            rate = lr * (1 - step / n_steps)
            step += 1
            p, q = (rows.index_select(0, c) for rows, c in zip(factors, codes, strict=True))
            b = [values.index_select(0, c) for values, c in zip(biases, codes, strict=True)]
            error = (wanted - (p * q).sum(1)).sub_(b[0]).sub_(b[1])
            slope = error.unsqueeze(1)
            for side, own, other in ((0, p, q), (1, q, p)):
                rates = limits[side].index_select(0, codes[side]).clamp_(max=rate)
                row_change = (own * -alpha).addcmul_(other, slope).mul_(rates.unsqueeze(1))
                bias_change = (b[side] * -alpha).add_(error).mul_(rates)
                factors[side].index_add_(0, codes[side], row_change)
                biases[side].index_add_(0, codes[side], bias_change)
    elapsed = perf_counter() - start

    fitted = (factors[0][users] * factors[1][items]).sum(1) + biases[0][users] + biases[1][items]
    return elapsed, mean + std * fitted.double().numpy()
