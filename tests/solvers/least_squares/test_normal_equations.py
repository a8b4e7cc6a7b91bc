"""Normal equations of all rows at once, against each row by itself."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch

from sklrec._solvers.least_squares import normal_equations
from sklrec._solvers.least_squares.normal_equations import RatingsByRow, solve, solve_penalised

N_ROWS, N_PARTNERS, N, D = 7, (5, 6), 60, 4


def problem(weighted, n_sides, biased=True, **options):
    """Make ratings of rows of very different length; rows 0 and 6 have none."""
    rng = np.random.default_rng(0)
    rows = rng.integers(1, N_ROWS - 1, N)
    rows[: N // 2] = 2
    partners = [rng.integers(n, size=N) for n in N_PARTNERS[:n_sides]]
    values, weights = rng.normal(size=N), rng.random(N) + 0.5 if weighted else None
    shapes = [(n, D) for n in N_PARTNERS[:n_sides]]
    tables = [torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for shape in shapes]
    by_row = RatingsByRow(
        rows,
        partners,
        values,
        weights,
        n_rows=N_ROWS,
        n_partners=N_PARTNERS[:n_sides],
        n_columns=D,
        biased=biased,
        **options,
    )
    return by_row, rows, partners, values, weights, tables


def check_equations(by_row, rows, partners, values, weights, tables):
    """Compare Gram products and moments with those of each row, in float64."""
    seen = []
    factors = slice(None, -1) if by_row.biased else slice(None)
    for some, grams, moments in by_row.equations(*tables):
        seen += some.tolist()
        for row, gram, moment in zip(some.tolist(), grams, moments, strict=True):
            own = rows == row
            sides = [
                t.double().numpy()[codes[own]] for t, codes in zip(tables, partners, strict=True)
            ]
            target, features = values[own].copy(), sum(sides)
            if by_row.biased:
                target -= features[:, -1]
                features[:, -1] = 1
            if len(sides) == 2:
                target -= (sides[0][:, factors] * sides[1][:, factors]).sum(1)
            weighted = features if weights is None else features * weights[own][:, None]
            assert np.allclose(gram, weighted.T @ features, atol=1e-4)
            assert np.allclose(moment, weighted.T @ target, atol=1e-4)
    assert sorted(seen) == list(range(N_ROWS))


@pytest.mark.parametrize("n_sides", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("at_once", [2**22, 40])
def test_equations_are_those_of_each_row(n_sides, weighted, biased, at_once, monkeypatch):
    monkeypatch.setattr(normal_equations, "NUMBERS_AT_ONCE", at_once)
    by_row, rows, *rest, tables = problem(weighted, n_sides, biased)
    before = [table.clone() for table in tables]
    check_equations(by_row, rows, *rest, tables)
    total = np.bincount(rows, rest[-1], minlength=N_ROWS)
    assert np.allclose(by_row.total_weight, total)
    assert all(torch.equal(table, old) for table, old in zip(tables, before, strict=True))


def test_ratings_and_weights_can_be_replaced():
    by_row, rows, partners, _, _, tables = problem(True, 2, replaceable=True)
    rng = np.random.default_rng(2)
    values, weights = rng.normal(size=N), rng.random(N)
    by_row.set_ratings(torch.from_numpy(values.astype(np.float32)))
    by_row.set_weights(torch.from_numpy(weights.astype(np.float32)))
    check_equations(by_row, rows, partners, values, weights, tables)


def test_terms_are_sums_divided_by_the_root_of_their_number():
    by_row, rows, (partners,), _, _, (table,) = problem(False, 1)
    found = by_row.terms(table).numpy()
    for row in range(N_ROWS):
        own = partners[rows == row]
        assert np.allclose(found[row], table.numpy()[own].sum(0) / max(1, len(own)) ** 0.5)


def systems(n):
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(n, D, D))
    precisions = roots @ roots.transpose(0, 2, 1) + np.eye(D)
    return torch.from_numpy(precisions), torch.from_numpy(rng.normal(size=(n, D)))


def test_solutions_solve_the_systems():
    precisions, moments = systems(3)
    found, draws = solve(precisions, moments)
    assert draws is None
    assert np.allclose(found, np.linalg.solve(precisions, moments[:, :, None])[..., 0], atol=1e-5)
    raised = precisions + torch.diag_embed(torch.arange(3.0).unsqueeze(1).expand(-1, D))
    penalised = solve_penalised(precisions, moments, torch.arange(3.0))
    assert torch.allclose(penalised, solve(raised, moments)[0], atol=1e-5)


def test_draws_have_the_mean_and_the_covariance_of_their_gaussian():
    precisions, moments = systems(1)
    many = precisions.expand(100_000, -1, -1), moments.expand(100_000, -1)
    means, draws = solve(*many, torch.Generator().manual_seed(0))
    assert np.allclose(draws.mean(0), means[0], atol=0.01)
    assert np.allclose(np.cov(draws.numpy().T), np.linalg.inv(precisions[0]), atol=0.02)
    assert torch.equal(draws, solve(*many, torch.Generator().manual_seed(0))[1])


def test_singular_systems_are_solved():
    found, _ = solve(torch.ones(1, 3, 3, dtype=torch.float64), torch.full((1, 3), 3.0))
    assert np.allclose(found.sum(), 3, atol=1e-2)
    assert torch.isfinite(solve(torch.zeros(2, 3, 3), torch.zeros(2, 3))[0]).all()


@pytest.mark.parametrize("matrix", [-torch.eye(3), torch.full((3, 3), torch.nan)])
def test_systems_without_a_solution_are_refused(matrix):
    with pytest.raises(ValueError, match="have no finite solution"):
        solve(matrix.unsqueeze(0), torch.ones(1, 3))
