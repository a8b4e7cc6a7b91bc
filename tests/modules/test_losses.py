"""Losses: values, slopes and minimisers."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sklrec.modules import MatrixFactorization
from sklrec.modules._losses import (
    SQUARED_ERROR,
    AbsoluteError,
    CallableLoss,
    HuberLoss,
    PinballLoss,
    weighted_quantile,
)

RATINGS = torch.tensor([1.0, 2.0, 2.5, 4.0, 5.0, -3.0], dtype=torch.float64)
PREDICTIONS = torch.tensor([1.5, 0.5, 2.4, 4.0, 9.0, -2.0], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 0.5, 3.0, 1.0, 0.1, 2.0], dtype=torch.float64)
SCALE = torch.tensor(1.7, dtype=torch.float64)
# Each loss, and its values for the errors of the predictions.
LOSSES = {
    "squared": (SQUARED_ERROR, [0.25, 2.25, 0.01, 0, 16, 1]),
    "absolute": (AbsoluteError(noise=0.8), [0.5, 1.5, 0.1, 0, 4, 1]),
    "pinball": (PinballLoss(0.9, noise=0.8), [0.05, 1.35, 0.09, 0, 0.4, 0.1]),
    "huber": (HuberLoss(delta=1.2), [0.125, 1.08, 0.005, 0, 4.08, 0.5]),
    "function": (CallableLoss(lambda p, r: (p - r).abs() ** 3), [0.125, 3.375, 0.001, 0, 64, 1]),
    "module": (CallableLoss(torch.nn.MSELoss()), [0.25, 2.25, 0.01, 0, 16, 1]),
    "reduced": (CallableLoss(F.l1_loss), [0.5, 1.5, 0.1, 0, 4, 1]),
    "one number": (CallableLoss(lambda p, r: F.mse_loss(p, r)), [19.51 / 6] * 6),
}
each = pytest.mark.parametrize("name", LOSSES)


@each
def test_values_are_in_units_of_the_ratings(name):
    loss, wanted = LOSSES[name]
    np.testing.assert_allclose(loss.values(PREDICTIONS, RATINGS), wanted, atol=1e-12)
    mean = loss.mean(PREDICTIONS, RATINGS, WEIGHTS).item()
    assert mean == pytest.approx(np.average(wanted, weights=WEIGHTS))


@each
def test_half_slopes_are_half_the_derivatives_of_the_objective(name):
    loss, _ = LOSSES[name]
    errors = ((PREDICTIONS - RATINGS) / SCALE).requires_grad_()
    objective = loss.objective(RATINGS + SCALE * errors, RATINGS, SCALE, torch.float64)
    objective.sum().backward()
    found = loss.half_slopes(errors.detach(), RATINGS, SCALE)
    np.testing.assert_allclose(found, errors.grad / 2, atol=1e-12)
    assert errors.grad.abs().max() > 0.5


@each
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])
@pytest.mark.parametrize("base", [None, PREDICTIONS], ids=["", "added"])
def test_minimisers_have_the_least_mean_loss(name, weights, base):
    loss, _ = LOSSES[name]
    found = loss.minimiser(RATINGS, weights, base)
    start = torch.zeros_like(RATINGS) if base is None else base

    def mean(constant):
        return loss.mean(start + constant, RATINGS, weights).item()

    assert all(mean(found) <= mean(found + step) + 1e-12 for step in (-0.5, -1e-3, 1e-3, 0.5))


def test_weighted_quantiles_equal_those_of_repeated_values():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=50).round(1), rng.integers(1, 5, 50)
    repeated = np.repeat(values, weights)
    for quantile in (0.01, 0.1, 0.37, 0.5, 0.9):
        found = weighted_quantile(torch.tensor(values), quantile, torch.tensor(weights))
        wanted = np.quantile(repeated, quantile, method="averaged_inverted_cdf")
        assert found == pytest.approx(wanted)
    assert weighted_quantile(torch.tensor([3.0]), 0.9) == 3


@pytest.mark.parametrize("quantile", [0.05, 0.1, 0.5, 0.9])
def test_slopes_of_quantiles_have_about_the_size_of_those_of_the_squared_error(quantile):
    errors = 0.7 * torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double()
    errors -= weighted_quantile(errors, 1 - quantile)  # of predictions at the quantile
    loss = PinballLoss(quantile, noise=0.7)
    slopes = loss.half_slopes(errors / SCALE, RATINGS[:1], SCALE) * SCALE
    assert slopes.mean().item() == pytest.approx(0, abs=0.05)
    assert 0.7 * 0.6 < slopes.std().item() < 0.7 * 1.2


def test_the_size_of_huber_errors_comes_from_the_data():
    rng = np.random.default_rng(0)
    errors = torch.from_numpy(np.append(rng.normal(0, 2, 9500), rng.normal(0, 100, 500)))
    assert HuberLoss().fitted(errors, 5.0).delta == pytest.approx(1.345 * 2, rel=0.1)
    few = torch.tensor([0.0, 0, 0, 0, 0, 3])  # a median deviation of 0
    assert HuberLoss().fitted(few, 5.0).delta == pytest.approx(1.345 * few.std(correction=0))
    assert HuberLoss().fitted(few[:3], 5.0).delta == pytest.approx(1.345 * 5)


@each
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_in_closed_form_equal_those_of_autograd(name, reduction):
    loss, _ = LOSSES[name]
    gradients = []
    users, items = torch.tensor([1, 2, 3, 1, 2, 0]), torch.tensor([1, 1, 2, 2, 0, 1])
    weight = None if name == "one number" else WEIGHTS.float()
    options = {"loss": loss, "alpha": 0.3, "reduction": reduction}
    for backward in (
        lambda module: module.backward_loss(users, items, RATINGS, weight, **options),
        lambda module: super(type(module).__mro__[1], module).backward_loss(
            RATINGS, weight, users=users, items=items, **options
        ),
    ):
        generator = torch.Generator().manual_seed(0)
        module = MatrixFactorization(3, 2, 4, scale=1.7, init_std=0.5, generator=generator)
        mean, predictions = backward(module)
        wanted = loss.mean(predictions, RATINGS, weight).item()
        assert mean.item() == pytest.approx(wanted, rel=1e-5)
        gradients.append([table.grad for table in module.parameters()])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_losses_are_compared_by_reprs_without_addresses():
    names = {repr(loss) for loss, _ in LOSSES.values()}
    assert len(names) >= 7 and not any(" at 0x" in name for name in names)


BAD_LOSSES = {
    "arguments": (lambda prediction: prediction, TypeError, "raised TypeError: .*takes 1 posi"),
    "error": (lambda p, r: p.view(7, 7), ValueError, "raised RuntimeError: .*shape"),
    "type": (lambda p, r: 1.5, TypeError, r"returned 1\.5\."),
    "shape": (lambda p, r: (p - r)[:, None], ValueError, r"returned the shape \(6, 1\) for 6 rat"),
    "numpy": (
        lambda p, r: torch.from_numpy((p - r).detach().numpy()),
        ValueError,
        "returned a tensor without a gradient",
    ),
    "infinite": (lambda p, r: (p - r).log(), ValueError, "gave a loss that is not finite"),
    "slope": (lambda p, r: (p - r).abs().sqrt(), ValueError, "gave a gradient that is not finite"),
}


@pytest.mark.parametrize("kind", BAD_LOSSES)
def test_functions_that_cannot_be_minimised_are_refused(kind):
    function, error, message = BAD_LOSSES[kind]
    with pytest.raises(error, match=message) as raised:
        CallableLoss(function).check(PREDICTIONS, RATINGS, has_weights=False)
    assert "loss must be a function of predictions and ratings" in str(raised.value)


def test_one_number_for_a_batch_takes_no_weights():
    loss = LOSSES["one number"][0]
    loss.check(PREDICTIONS, RATINGS, has_weights=False)
    with pytest.raises(ValueError, match="one number for a batch, which sample_weight cannot"):
        loss.check(PREDICTIONS, RATINGS, has_weights=True)
