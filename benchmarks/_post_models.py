"""The three models of "PyTorch for Recommenders 101", and its training one sample at a time."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sklrec._utils.threads import threads_for


class PostMF(nn.Module):
    """Products of factors alone: no biases, torch's own N(0, 1) start, sparse gradients."""

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
    """A rating at every position of a window of items, from the items up to and including it."""

    def __init__(self, embedding_dim: int, hidden_dim: int, n_codes: int, D_out: int = 1):
        super().__init__()
        self.item_factors = nn.Embedding(n_codes, embedding_dim, padding_idx=0)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.output = nn.Linear(hidden_dim, D_out)

    def forward(self, windows: Tensor) -> Tensor:
        states, _ = self.lstm(self.item_factors(windows))  # from zero states at each call
        return self.output(states).squeeze(-1)


def cut_windows(log: pd.DataFrame, length: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Cut users' histories into windows, one after the other; equal times stay in their order.

    A window is as long as there are rows for it: zeros behind them would change nothing before
    them, and have no rating to learn.

    Parameters
    ----------
    log : DataFrame
        Columns `user` and `timestamp`; each user has at least `length` rows.
    length : int
        Rows in a window.

    Returns
    -------
    windows : list of ndarray
        Positions of the rows in each window.
    last : ndarray of shape (n_users, length)
        Those in each user's last window, which is not among the others.
    """
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
    """How far a training went: samples, their seconds, and an epoch's at the same pace."""

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
    """Train by plain SGD on the squared error, each sample a step of its own, in random order.

    Parameters
    ----------
    module : Module
        Takes a sample's inputs and gives what is shaped as its target.
    inputs : sequence of sequences of Tensor
        For each argument of the module, its value for every sample.
    targets : sequence of Tensor
        The target of every sample.
    lr : float
        Learning rate.
    n_epochs : int, default=1
        Passes over the samples.
    max_seconds : float
        When to stop all the same.
    zero_gradients : bool, default=True
        Whether a step goes by its own sample's gradient, or by the sum of all so far.

    Returns
    -------
    Training
        What was done.
    """
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    rows = torch.cat([torch.randperm(len(targets)) for _ in range(n_epochs)]).tolist()
    n_samples, start = 0, perf_counter()
    with threads_for(1, 1):
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
