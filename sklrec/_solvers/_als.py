"""Alternating least squares."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sklrec._checkpoints import NO_CHECKPOINT, Checkpoint
from sklrec._net import InteractionTensors
from sklrec._normal_equations import RatingsByRow, solve_penalised, times
from sklrec._shared_terms import N_STEPS, SharedTerms, met
from sklrec._sklearn_callbacks import heard_steps
from sklrec._solvers._best import Best
from sklrec._solvers._solver import Outcome, Previous
from sklrec._solvers._sweeps import SIDES, Ratings, Tables, progress
from sklrec._threads import threads_for_sweeps
from sklrec.modules import MatrixFactorization

# How much more than rows' own factors those are penalised that others contribute to them: each
# rating adds to many. Chosen on held-out parts of training data, by benchmarks/choose_sweeps.py.
TERMS_PENALTY = 3


@dataclass(frozen=True)
class Described:
    """A side's rows as sums of their own and of what those whom they met contribute.

    Parameters
    ----------
    by : SharedTerms
        Whom they met.
    terms : Tensor of shape (n_partners, n_columns)
        What the other side's rows contribute.
    """

    by: SharedTerms
    terms: Tensor


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
    implicit_features : bool, default=False
        Whether each row is also described by whom it met.
    """

    alpha: float
    n_iter: int
    tol: float
    early_stopping: bool
    n_iter_no_change: int
    verbose: int
    implicit_features: bool = False

    @torch.no_grad()
    def train(
        self,
        module: MatrixFactorization,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: Previous | None = None,
        checkpoint: Checkpoint = NO_CHECKPOINT,
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
        checkpoint : Checkpoint, default=NO_CHECKPOINT
            Where the training keeps its state, and may find one to go on from.

        Returns
        -------
        Outcome
            How it went.
        """
        ratings, tables = Ratings(module, data), Tables.of_module(module)
        by_row, described = ratings.by_row(), self._described(ratings, tables)
        asked = None if valid is None else Ratings(module, valid)
        scale = module.scale.item() ** 2
        losses, valid_losses, interrupted = [], [], False
        best: Best[tuple[Tables, dict[str, Described]]] = Best(self.tol, self.n_iter_no_change)
        if (saved := checkpoint.resume()) is not None:
            with checkpoint.reading():
                losses, valid_losses, best.loss, best.n_misses = saved["losses"]
                found = [_put_back(kept, tables, described) for kept in saved["solutions"]]
                tables, described = found[0]
                best.state = found[1] if len(found) > 1 else None

        def state() -> dict[str, Any]:
            solutions = [(tables, described)] + ([] if best.state is None else [best.state])
            return {
                "losses": (losses, valid_losses, best.loss, best.n_misses),
                "solutions": [_kept(*solution) for solution in solutions],
            }

        def so_far() -> MatrixFactorization:
            copied = deepcopy(module)
            tables.write(copied)
            return copied

        try:
            with threads_for_sweeps(len(data), module.width):
                n_done = self.n_iter if checkpoint.finished else len(losses)
                sweeps = progress(self.n_iter, self.verbose, "sweep", n_done)
                for _ in heard_steps(sweeps, "sweep", so_far):
                    tables, described = self.sweep(by_row, tables, described)
                    losses.append(ratings.mean_squared_error(tables))
                    if asked is not None:
                        valid_losses.append(asked.mean_squared_error(tables))
                        is_over = best.see((tables, described), valid_losses[-1])
                        if self.early_stopping and is_over:
                            break
                    if len(losses) > 1 and losses[-2] - losses[-1] < self.tol:
                        break
                    checkpoint.save(state)
            checkpoint.finish(state)
        except KeyboardInterrupt:
            interrupted = True
            warnings.warn(
                f"Training was interrupted after {len(losses)} whole sweeps of {self.n_iter}; the "
                "model is what it had become by then.",
                stacklevel=5,
            )
        if self.early_stopping and best.state is not None:
            tables, described = best.state
        tables.write(module)
        for side in SIDES:
            terms = described[side].terms if side in described else None
            setattr(module, f"{side}_terms", terms)
        return Outcome(
            [scale * loss for loss in losses], [scale * loss for loss in valid_losses], interrupted
        )

    def sweep(
        self, by_row: dict[str, RatingsByRow], tables: Tables, described: dict[str, Described]
    ) -> tuple[Tables, dict[str, Described]]:
        """Solve for the users with the items held, then the other way round.

        Parameters
        ----------
        by_row : dict of str to RatingsByRow
            The ratings.
        tables : Tables
            The tables before, with all that describes their rows.
        described : dict of str to Described
            What describes rows besides themselves, for sides that are described so.

        Returns
        -------
        tuple of (Tables, dict)
            The same after the sweep.
        """
        for side, other in (SIDES, SIDES[::-1]):
            if side in described:
                rows, found = self._solve_both(by_row[side], tables[other], described[side])
                described = {**described, side: found}
            else:
                rows = self._solve_rows(by_row[side], tables[side], tables[other])
            tables = tables.with_rows(side, rows)
        return tables, described

    def _solve_rows(self, ratings: RatingsByRow, table: Tensor, partners: Tensor) -> Tensor:
        table = table.clone()
        for rows, grams, moments in ratings.equations(partners):
            table[rows] = solve_penalised(grams, moments, self.alpha * ratings.total_weight[rows])
        return table

    def _solve_both(
        self, ratings: RatingsByRow, partners: Tensor, described: Described
    ) -> tuple[Tensor, Described]:
        """Rows with what they share held, and then what they share."""
        shape = ratings.n_rows, ratings.n_columns
        grams, moments = partners.new_empty(*shape, shape[1]), partners.new_empty(shape)
        own, shared = partners.new_empty(shape), described.by.expand(described.terms)
        for rows, some_grams, some_moments in ratings.equations(partners):
            grams[rows], moments[rows] = some_grams, some_moments
            left = some_moments - times(some_grams, shared[rows])
            own[rows] = solve_penalised(some_grams, left, self.alpha * ratings.total_weight[rows])
        terms = described.by.solve(
            grams,
            moments - times(grams, own),
            TERMS_PENALTY * self.alpha * ratings.total_weight,
            described.terms,
            N_STEPS,
        )
        return own + described.by.expand(terms), Described(described.by, terms)

    def _described(self, ratings: Ratings, tables: Tables) -> dict[str, Described]:
        if not self.implicit_features:
            return {}
        found = {}
        for side, other in (SIDES, SIDES[::-1]):
            weights = met(
                ratings.numpy_codes(side),
                ratings.numpy_codes(other),
                ratings.n_rows[side],
                ratings.n_rows[other],
            )
            by = SharedTerms(weights, device=tables[side].device)
            found[side] = Described(by, torch.zeros_like(tables[other]))
        return found


def _kept(tables: Tables, described: dict[str, Described]) -> dict[str, Any]:
    """What a file keeps of a solution."""
    return {"tables": tables.of, "terms": {side: by.terms for side, by in described.items()}}


def _put_back(
    kept: dict[str, Any], tables: Tables, described: dict[str, Described]
) -> tuple[Tables, dict[str, Described]]:
    """The solution of which a file kept that, in place of the one at the start."""
    terms = kept["terms"]
    put_back = {side: Described(by.by, terms[side]) for side, by in described.items()}
    return Tables(kept["tables"], tables.biased), put_back
