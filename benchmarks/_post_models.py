"""The three models of "PyTorch for Recommenders 101", and its training one sample at a time."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks._training import torch_threads


class PostMF(nn.Module):
    """Products of factors, without biases, with torch's own N(0, 1) start and sparse gradients."""

    def __init__(self, n_users: int, n_items: int, n_factors: int = 20):
        super().__init__()
        self.user_factors = nn.Embedding(n_users, n_factors, sparse=True)
        self.item_factors = nn.Embedding(n_items, n_factors, sparse=True)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        return (self.user_factors(users) * self.item_factors(items)).sum(-1)


class PostDense(nn.Module):
    """A net of one hidden layer on the concatenated factors of user and item."""

    def __init__(self, n_users: int, n_items: int, n_factors: int, H1: int, D_out: int = 1):
        super().__init__()
        self.user_factors = nn.Embedding(n_users, n_factors)
        self.item_factors = nn.Embedding(n_items, n_factors)
        self.hidden = nn.Linear(2 * n_factors, H1)
        self.output = nn.Linear(H1, D_out)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        both = torch.cat([self.user_factors(users), self.item_factors(items)], dim=-1)
        return self.output(self.hidden(both).relu()).squeeze(-1)


class PostLSTM(nn.Module):
    """A rating at each position of a window, from the items up to this position."""

    def __init__(self, embedding_dim: int, hidden_dim: int, n_codes: int, D_out: int = 1):
        super().__init__()
        self.item_factors = nn.Embedding(n_codes, embedding_dim, padding_idx=0)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.output = nn.Linear(hidden_dim, D_out)

    def forward(self, windows: Tensor) -> Tensor:
        states, _ = self.lstm(self.item_factors(windows))  # from zero states at each call
        return self.output(states).squeeze(-1)


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


class Training(NamedTuple):
    """Number of samples of a training, its seconds, and the seconds of an epoch at that rate."""

    n_samples: int
    seconds: float
    epoch_seconds: float


def train(
    module: nn.Module,
    inputs: Sequence[Sequence[Tensor]],
    targets: Sequence[Tensor],
    *,
    lr: float,
    n_epochs: int = 1,
    max_seconds: float,
    zero_gradients: bool = True,
) -> Training:
    """Train by plain SGD on the squared error, one sample a step, in random order."""
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    rows = torch.cat([torch.randperm(len(targets)) for _ in range(n_epochs)]).tolist()
    n_samples, start = 0, perf_counter()
    with torch_threads(1):
        for row in rows:
            if zero_gradients:
                optimizer.zero_grad()
            prediction = module(*[values[row] for values in inputs])
            nn.functional.mse_loss(prediction, targets[row]).backward()
            optimizer.step()
            n_samples += 1
            if perf_counter() - start > max_seconds:
                break
    elapsed = perf_counter() - start
    return Training(n_samples, elapsed, elapsed / n_samples * len(targets))
