"""skops and MLflow store fitted estimators; `make test-integrations` installs both."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import sklrec
from sklrec.datasets import make_ratings

X, Y = make_ratings(n_users=30, n_items=20, n_ratings=300, random_state=0)
ESTIMATORS = {
    "mf": sklrec.MFRegressor(n_factors=3, max_epochs=2),
    "dense": sklrec.DenseRecRegressor(3, (4,), max_epochs=2),
    "sequence": sklrec.SequenceRatingRegressor(3, 3, max_epochs=2),
    "bayesian": sklrec.BayesianMFRegressor(n_factors=3, n_iter=3, side_features=["timestamp"]),
    "bias": sklrec.BiasRegressor(),
    "pipeline": make_pipeline(sklrec.IDEncoder(), sklrec.MFRegressor(n_factors=3, max_epochs=2)),
}
of_all = pytest.mark.parametrize("name", ESTIMATORS)
with_both_ids = pytest.mark.parametrize("ids", [int, str])


def fitted(name, ids):
    data = X.astype({"user": ids, "item": ids})
    return clone(ESTIMATORS[name]).fit(data, Y), data


def trusted(name):
    model = ESTIMATORS[name][-1] if name == "pipeline" else ESTIMATORS[name]
    return [f"{cls.__module__}.{cls.__qualname__}" for cls in (type(model), sklrec.IDEncoder)]


@of_all
@with_both_ids
def test_skops_has_to_trust_classes_of_sklrec_only(tmp_path, name, ids):
    skops = pytest.importorskip("skops.io")
    model, data = fitted(name, ids)
    skops.dump(model, tmp_path / "model.skops")
    assert skops.get_untrusted_types(file=tmp_path / "model.skops") == sorted(trusted(name))
    loaded = skops.load(tmp_path / "model.skops", trusted=trusted(name))
    np.testing.assert_array_equal(loaded.predict(data), model.predict(data))


@of_all
@with_both_ids
@pytest.mark.parametrize("how", ["skops", "cloudpickle"])
def test_mlflow_logs_and_loads(tmp_path, monkeypatch, name, ids, how):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/runs.db")
    model, data = fitted(name, ids)
    # skops trusts no class outside of scikit-learn by itself.
    options = {"skops": {"skops_trusted_types": trusted(name)}}
    with mlflow.start_run():
        # MLflow takes 15 s to find out the requirements.
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            pip_requirements=["sklrec"],
            **options.get(how, {"serialization_format": how}),
        )
    for load in (mlflow.sklearn.load_model, mlflow.pyfunc.load_model):
        found = load(logged.model_uri).predict(data)
        np.testing.assert_array_equal(found, model.predict(data))
