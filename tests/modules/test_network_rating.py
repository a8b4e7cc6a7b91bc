"""NetworkRating: the modules of the package in it predict and learn as in their own estimators."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch

from sklrec import DenseRecRegressor, MFRegressor, ModuleRecRegressor, SequenceRatingRegressor
from sklrec._data.tables import read_table
from sklrec.datasets import make_ratings
from sklrec.modules import DenseNet, LSTMRating, MatrixFactorization

X, Y = make_ratings(30, 20, 300, random_state=0)
IDS = X[["user", "item"]]
SIDE = IDS.assign(
    age=X["user"] % 5 / 5,
    job=np.array(["nurse", "pilot"])[X["user"] % 2],
    genres=[[["a", "b"], ["c"], []][item % 3] for item in X["item"]],
)
COMMON = {"max_epochs": 2, "random_state": 0, "rating_scale": None}
CASES = {
    "factors": (MatrixFactorization, MFRegressor(n_factors=4, **COMMON), IDS),
    "dense": (DenseNet, DenseRecRegressor(n_factors=4, **COMMON), SIDE),
    "lstm": (LSTMRating, SequenceRatingRegressor(4, 3, dropout=0.0, alpha=1.0, **COMMON), X),
}


@pytest.fixture(params=CASES)
def pair(request):
    """An estimator of the package, the same network in `ModuleRecRegressor`, and their X."""
    module, own, table = CASES[request.param]
    own.fit(table, Y)
    arguments = {"n_factors": 4}
    if module is LSTMRating:
        arguments |= {"hidden_size": 3, "dropout": 0.0}
    params = {f"module__{name}": value for name, value in arguments.items()}
    other = ModuleRecRegressor(module, output="standardized", max_len=64, **COMMON, **params)
    other.fit(table, Y)
    wanted = own.module_.state_dict()
    tensors = {n: v for n, v in wanted.items() if n not in ("global_mean", "scale")}
    other.module_.network.load_state_dict(tensors, strict=False)
    other.module_.global_mean.copy_(own.module_.global_mean)
    other.module_.scale.copy_(own.module_.scale)
    return own, other, table


def test_the_predictions_are_those_of_the_own_estimator(pair):
    own, other, table = pair
    assert np.allclose(other.predict(table), own.predict(table), atol=1e-6)


def batch_of(model, table):
    """Inputs of the module for all rows."""
    table = read_table(table)
    if hasattr(model._reader, "targets"):
        return model._reader.targets(model, table, None).in_one_batch()
    inputs = model._reader.inputs(model, table)
    return {name: torch.from_numpy(values) for name, values in inputs.items()}


@pytest.mark.parametrize("weight", [None, torch.linspace(0.5, 1.5, len(Y))])
def test_gradients_of_autograd_are_those_in_closed_form(pair, weight, monkeypatch):
    monkeypatch.setattr("sklrec.modules._network_rating.UNKNOWN_SHARE", 0.0)
    own, other, table = pair
    for model in (own, other):
        if hasattr(model.module_, "chances"):
            monkeypatch.setattr(model.module_, "chances", {})
    ratings, found = torch.tensor(Y.to_numpy()), []
    for model in (own, other):
        module = model.module_.train()
        module.zero_grad()
        inputs = batch_of(model, table)
        order = inputs.pop("order", None)
        y = ratings if order is None else ratings[order]
        loss, _ = module.backward_loss(**inputs, ratings=y, sample_weight=weight)
        gradients = {
            name.removeprefix("network."): p.grad.to_dense()
            for name, p in module.named_parameters()
            if p.grad is not None
        }
        found.append((loss.item(), gradients))
    (loss, gradients), (other_loss, others) = found
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert gradients.keys() <= others.keys()
    for name, wanted in gradients.items():
        assert torch.allclose(others[name], wanted, rtol=1e-4, atol=1e-5), name
