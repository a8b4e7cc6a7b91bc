"""The kernel behind exact solvers, against one row after the other."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch

import sklrec._solvers.least_squares.normal_equations as normal_equations
from sklrec._solvers.least_squares.normal_equations import RatingsByRow, solve


def problem(weighted, n_rows=7, n_partners=5, n=60, d=4, seed=0):
    rng = np.random.default_rng(seed)
    rows, partners = rng.integers(1, n_rows - 1, n), rng.integers(n_partners, size=n)
    rows[: n // 2] = 2  # one with far more than the others; rows 0 and the last have none
    values = rng.normal(size=n)
    weights = rng.random(n) + 0.5 if weighted else None
    table = torch.from_numpy(rng.normal(size=(n_partners, d)).astype(np.float32))
    return rows, partners, values, weights, table


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("at_once", [2**22, 40])
def test_equations_are_those_of_each_row(weighted, biased, at_once, monkeypatch):
    monkeypatch.setattr(normal_equations, "NUMBERS_AT_ONCE", at_once)
    rows, partners, values, weights, table = problem(weighted)
    by_row = RatingsByRow(
        rows, [partners], values, weights, n_rows=7, n_partners=[5], n_columns=4, biased=biased
    )
    seen = []
    for some, grams, moments in by_row.equations(table):
        seen += some.tolist()
        for row, gram, moment in zip(some.tolist(), grams.numpy(), moments.numpy(), strict=True):
            own = rows == row
            features = table.numpy()[partners[own]].astype(float)
            target = values[own].copy()
            if biased:
                target -= features[:, -1]
                features[:, -1] = 1
            w = np.ones(own.sum()) if weights is None else weights[own]
            assert np.allclose(gram, (features * w[:, None]).T @ features, atol=1e-4)
            assert np.allclose(moment, (features * w[:, None]).T @ target, atol=1e-4)
    assert sorted(seen) == list(range(7))
    total = np.bincount(rows, weights, minlength=7)
    assert np.allclose(by_row.total_weight, total)


def dense_equations(values, tables, weights, biased):
    """Gram product and moments of one row, by the rows of its partners' tables."""
    tables = [table.astype(float) for table in tables]
    target, features = values.copy(), sum(tables)
    if biased:
        target -= sum(table[:, -1] for table in tables)
        features[:, -1] = 1
    factors = slice(None, -1) if biased else slice(None)
    for k, table in enumerate(tables):
        for other in tables[:k]:
            target -= (table[:, factors] * other[:, factors]).sum(1)
    weighted = features if weights is None else features * weights[:, None]
    return weighted.T @ features, weighted.T @ target


def two_sided(weighted, biased, n_others=6):
    rows, partners, values, weights, table = problem(weighted)
    rng = np.random.default_rng(1)
    others = rng.integers(n_others, size=len(rows))
    other_table = torch.from_numpy(rng.normal(size=(n_others, 4)).astype(np.float32))
    by_row = RatingsByRow(
        rows,
        [partners, others],
        values,
        weights,
        n_rows=7,
        n_partners=[5, n_others],
        n_columns=4,
        biased=biased,
        replaceable=True,
    )

    def expected(row, values=values):
        own = rows == row
        tables = table.numpy()[partners[own]], other_table.numpy()[others[own]]
        return dense_equations(
            values[own], tables, None if weights is None else weights[own], biased
        )

    return by_row, (table, other_table), expected


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("at_once", [2**22, 40])
def test_a_row_of_two_partners_is_regressed_on_their_sum(weighted, biased, at_once, monkeypatch):
    monkeypatch.setattr(normal_equations, "NUMBERS_AT_ONCE", at_once)
    by_row, tables, expected = two_sided(weighted, biased)
    before = [table.clone() for table in tables]
    seen = []
    for some, grams, moments in by_row.equations(*tables):
        seen += some.tolist()
        for row, gram, moment in zip(some.tolist(), grams, moments, strict=True):
            dense_gram, dense_moment = expected(row)
            assert np.allclose(gram, dense_gram, atol=1e-4)
            assert np.allclose(moment, dense_moment, atol=1e-4)
    assert sorted(seen) == list(range(7))
    assert all(torch.equal(table, old) for table, old in zip(tables, before, strict=True))


def test_other_ratings_take_the_place_of_those_before():
    by_row, tables, expected = two_sided(True, True)
    new = np.random.default_rng(2).normal(size=60)
    by_row.set_ratings(torch.from_numpy(new.astype(np.float32)))
    for some, grams, moments in by_row.equations(*tables):
        for row, gram, moment in zip(some.tolist(), grams, moments, strict=True):
            dense_gram, dense_moment = expected(row, new)
            assert np.allclose(gram, dense_gram, atol=1e-4)
            assert np.allclose(moment, dense_moment, atol=1e-4)


def test_terms_are_sums_by_the_root_of_the_number():
    rows, partners, values, _, table = problem(False)
    by_row = RatingsByRow(rows, [partners], values, None, n_rows=7, n_partners=[5], n_columns=4)
    found = by_row.terms(table).numpy()
    for row in range(7):
        own = partners[rows == row]
        expected = table.numpy()[own].sum(0) / max(1, len(own)) ** 0.5
        assert np.allclose(found[row], expected, atol=1e-5)


def systems(n=3, d=4, seed=0):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(n, d, d))
    precisions = roots @ roots.transpose(0, 2, 1) + np.eye(d)
    return torch.from_numpy(precisions), torch.from_numpy(rng.normal(size=(n, d)))


def test_solutions_are_solutions():
    precisions, moments = systems()
    found, draws = solve(precisions, moments)
    assert draws is None
    for k in range(3):
        assert np.allclose(found[k], np.linalg.solve(precisions[k], moments[k]), atol=1e-5)


def test_draws_have_the_mean_and_the_covariance_of_their_gaussian():
    precisions, moments = systems(n=1)
    n = 100_000
    many = precisions.expand(n, -1, -1), moments.expand(n, -1)
    means, draws = solve(*many, torch.Generator().manual_seed(0))
    covariance = np.linalg.inv(precisions[0])
    assert np.allclose(draws.mean(0), means[0], atol=0.01)
    assert np.allclose(np.cov(draws.numpy().T), covariance, atol=0.02)
    assert torch.equal(draws, solve(*many, torch.Generator().manual_seed(0))[1])


def test_what_has_no_full_rank_is_solved_nevertheless():
    features = torch.ones(1, 3, 1, dtype=torch.float64)
    gram = features @ features.transpose(1, 2)
    found, _ = solve(gram, torch.full((1, 3), 3.0))
    assert np.allclose(found.sum(), 3, atol=1e-2)
    assert torch.isfinite(solve(torch.zeros(2, 3, 3), torch.zeros(2, 3))[0]).all()


@pytest.mark.parametrize("matrix", [-torch.eye(3), torch.full((3, 3), torch.nan)])
def test_what_has_no_solution_is_said(matrix):
    with pytest.raises(ValueError, match="have no finite solution"):
        solve(matrix.unsqueeze(0), torch.ones(1, 3))
