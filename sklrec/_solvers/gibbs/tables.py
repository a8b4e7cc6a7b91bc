"""Tables and ratings, in the form that a sweep reads."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers.least_squares.normal_equations import RatingsByRow, numbers_at_once
from sklrec._solvers.tensors import InteractionTensors
from sklrec.modules import MatrixFactorization

SIDES = ("user", "item")
# Standard deviation of the random start of tables. It matters little to sweeps.
INIT_STD = 0.1
# Number of errors to square and add at once.
SQUARED_AT_ONCE = 2**16


@dataclass
class Tables:
    """Factors and, in the last column, biases of each side, in units of ``scale``."""

    of: dict[str, Tensor]  # (n_rows, n_columns) for each side
    biased: bool  # whether the last column holds biases

    def __getitem__(self, side: str) -> Tensor:
        return self.of[side]

    @classmethod
    def of_module(cls, module: MatrixFactorization) -> "Tables":
        """Copy a module's tables."""
        tables = {}
        for side in SIDES:
            table = getattr(module, f"{side}_factors").weight.detach().clone()
            if module.biased:
                biases = getattr(module, f"{side}_biases").detach()
                table = torch.cat([table, biases.unsqueeze(1)], 1)
            tables[side] = table
        return cls(tables, module.biased)

    def with_rows(self, side: str, rows: Tensor) -> "Tables":
        """Return tables in which one side's table is replaced."""
        return Tables({**self.of, side: rows}, self.biased)

    def predict(self, codes: dict[str, Tensor]) -> Tensor:
        """Predict ratings, without mean and scale."""
        tables = list(self.of.values())
        columns = [codes[side] for side in self.of]
        n_columns = tables[0].shape[1]
        ratings = tables[0].new_empty(len(columns[0]))
        n_rows = max(1, numbers_at_once(ratings.device) // n_columns)
        parts = [values.split(n_rows) for values in (ratings, *columns)]
        for part, *some in zip(*parts, strict=True):
            rows = [table.index_select(0, at) for table, at in zip(tables, some, strict=True)]
            self._predict(rows, n_columns - self.biased, part)
        return ratings

    def _predict(self, rows: list[Tensor], n_factors: int, out: Tensor) -> None:
        out.zero_()
        for p, q in combinations(rows, 2):
            out += (p[:, :n_factors] * q[:, :n_factors]).sum(1)
        if self.biased:
            for row in rows:
                out += row[:, -1]


class Ratings:
    """Ratings of unit scale with the codes of each side."""

    def __init__(
        self,
        module: MatrixFactorization,
        data: InteractionTensors,
        others: dict[str, Tensor] | None = None,  # codes of further sides, from 0
    ):
        self.codes = {"user": data.X["users"], "item": data.X["items"], **(others or {})}
        self.values = module._from_ratings(data.y, module.user_factors.weight)
        self.weights = data.X.get("sample_weight")
        self.n_rows = {"user": module.n_users + 1, "item": module.n_items + 1}
        for side, codes in (others or {}).items():
            self.n_rows[side] = int(codes.max()) + 1
        self._columns = module.n_factors + module.biased, module.biased

    def by_row(self) -> dict[str, RatingsByRow]:
        """Group the ratings by the rows of each side."""
        codes = {side: codes.cpu().numpy() for side, codes in self.codes.items()}
        values = self.values.cpu().numpy()
        weights = None if self.weights is None else self.weights.cpu().numpy()
        n_columns, biased = self._columns
        return {
            side: RatingsByRow(
                codes[side],
                [codes[other] for other in self.others(side)],
                values,
                weights,
                n_rows=self.n_rows[side],
                n_partners=[self.n_rows[other] for other in self.others(side)],
                n_columns=n_columns,
                biased=biased,
                replaceable=True,
                device=self.values.device,
            )
            for side in codes
        }

    def others(self, side: str) -> list[str]:
        """List all sides but one."""
        return [other for other in self.codes if other != side]

    def numpy_codes(self, side: str) -> np.ndarray:
        return self.codes[side].cpu().numpy()


def mean_square(errors: Tensor, weights: Tensor | None) -> float:
    """Compute the weighted mean of squares."""
    total = len(errors) if weights is None else weights.sum().item()
    factors = errors if weights is None else errors * weights
    # In parts, because the products take float64.
    parts = zip(errors.split(SQUARED_AT_ONCE), factors.split(SQUARED_AT_ONCE), strict=True)
    return torch.stack([a.double().dot(b.double()) for a, b in parts]).sum().item() / total


def progress(n_iter: int, verbose: int, unit: str) -> Iterator[int]:
    """Count to `n_iter`, with a progress bar if `verbose`."""
    if not verbose:
        yield from range(n_iter)
        return
    from tqdm.auto import trange  # a slow import that few need

    yield from trange(n_iter, desc="fit", unit=unit)
