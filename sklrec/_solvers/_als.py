"""Alternating least squares."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from dataclasses import dataclass

import torch

from sklrec._net import InteractionTensors
from sklrec._normal_equations import solve
from sklrec._solvers._solver import Outcome, Previous
from sklrec._solvers._sweeps import SIDES, Ratings, Tables, progress
from sklrec.modules import MatrixFactorization


@dataclass(frozen=True)
class AlternatingLeastSquares:
    """Solve for all users, then for all items, exactly, and again.

    Parameters
    ----------
    alpha : float
        L2 penalty on factors and biases, once for each rating.
    n_iter : int
        Number of sweeps over both tables at most.
    tol : float
        By how much the training error must fall in a sweep, as a share of the ratings'
        variance.
    early_stopping : bool
        Whether to stop, and to go back to the best sweep, by the validation loss.
    n_iter_no_change : int
        Sweeps without a lower validation loss after which to stop.
    verbose : int
        Whether to show a progress bar.
    """

    alpha: float
    n_iter: int
    tol: float
    early_stopping: bool
    n_iter_no_change: int
    verbose: int

    @torch.no_grad()
    def train(
        self,
        module: MatrixFactorization,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: Previous | None = None,
    ) -> Outcome:
        """Train a module in place.

        Parameters
        ----------
        module : MatrixFactorization
            The module; what it holds is the start.
        data : InteractionTensors
            What to train on.
        valid : InteractionTensors or None
            What to measure the validation loss on.
        generator : torch.Generator
            Not used.
        previous : Previous, default=None
            Not used: all there is to go on from is in the module.

        Returns
        -------
        Outcome
            How it went.
        """
        ratings, tables = Ratings(module, data), Tables.of(module)
        asked = None if valid is None else Ratings(module, valid)
        scale = module.scale.item() ** 2
        losses, valid_losses, interrupted = [], [], False
        best, best_loss, n_misses = None, float("inf"), 0
        try:
            for _ in progress(self.n_iter, self.verbose, "sweep"):
                tables = self.sweep(ratings, tables)
                predictions = tables.predict(ratings.users, ratings.items)
                losses.append(ratings.mean_squared_error(predictions))
                if asked is not None:
                    predictions = tables.predict(asked.users, asked.items)
                    loss = asked.mean_squared_error(predictions)
                    valid_losses.append(loss)
                    n_misses = 0 if loss < best_loss - self.tol else n_misses + 1
                    if loss < best_loss:
                        best, best_loss = tables, loss
                    if self.early_stopping and n_misses >= self.n_iter_no_change:
                        break
                if len(losses) > 1 and losses[-2] - losses[-1] < self.tol:
                    break
        except KeyboardInterrupt:
            interrupted = True
            warnings.warn(
                f"Training was interrupted after {len(losses)} whole sweeps of {self.n_iter}; the "
                "model is what it had become by then.",
                stacklevel=5,
            )
        if self.early_stopping and best is not None:
            tables = best
        tables.write(module)
        return Outcome(
            [scale * loss for loss in losses], [scale * loss for loss in valid_losses], interrupted
        )

    def sweep(self, ratings: Ratings, tables: Tables) -> Tables:
        """Solve for the users with the items held, then the other way round.

        Parameters
        ----------
        ratings : Ratings
            The ratings.
        tables : Tables
            The tables before.

        Returns
        -------
        Tables
            The tables after.
        """
        tables = tables.copy()
        for side, other in (SIDES, SIDES[::-1]):
            by_row, table = ratings.by_row[side], getattr(tables, side)
            for rows, grams, moments in by_row.equations(getattr(tables, other)):
                # A row without ratings gets zeros, whatever it is penalised by.
                penalty = self.alpha * by_row.total_weight[rows].clamp(min=1e-6)
                precisions = grams.double()
                precisions.diagonal(dim1=1, dim2=2).add_(penalty.unsqueeze(1))
                table[rows] = solve(precisions, moments)[0]
        return tables
