"""Searches by joblib's backends and a Dask cluster give the same results as one process."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster
from joblib import Parallel, delayed, parallel_config
from sklearn import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from skorch.callbacks import LRScheduler

from sklrec import (
    BayesianMFRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, n_ratings=600, random_state=0)
CV = KFold(2, shuffle=True, random_state=0)
STEPS = LRScheduler("StepLR", step_size=1)
MF = MFRegressor(max_epochs=3, callbacks=[STEPS], random_state=0)
BAYESIAN = BayesianMFRegressor(n_iter=6, random_state=0)
DENSE = DenseRecRegressor(max_epochs=2, random_state=0)
SEQUENCE = SequenceRatingRegressor(hidden_size=8, max_epochs=2, random_state=0)
SEARCHES = {
    "MF": (MF, {"n_factors": [2, 8]}),
    "Bayesian": (BAYESIAN, {"n_factors": [2, 4]}),
    "dropout": (DENSE, {"dropout": [0.2, 0.5]}),
    "Sequence": (SEQUENCE, {"n_factors": [4, 8]}),
    "pipeline": (make_pipeline(IDEncoder(), MF), {"mfregressor__n_factors": [2, 8]}),
}
WITH_DROPOUT = {"dropout", "Sequence"}


@contextmanager
def loky():
    """Two processes of joblib, in each of which torch uses one thread."""
    with parallel_config(backend="loky", inner_max_num_threads=1):
        yield


@contextmanager
def threading():
    """Threads of this process, in which torch uses one thread too."""
    with parallel_config(backend="threading"):
        yield


@contextmanager
def dask():
    """A process of a Dask cluster on this machine; user_guide/parallel.rst has two."""
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=1, host="127.0.0.1", **options) as cluster,
        Client(cluster) as client,
        parallel_config(backend="dask", client=client),
    ):
        yield


@pytest.fixture(scope="module", params=[loky, threading, dask], ids=lambda start: start.__name__)
def workers(request):
    """Make `n_jobs=2` two workers of a kind."""
    with request.param():
        yield request.param.__name__


def search(name, **options):
    estimator, grid = SEARCHES[name]
    options = {"cv": CV, "scoring": "neg_root_mean_squared_error"} | options
    return GridSearchCV(clone(estimator), grid, return_train_score=True, **options).fit(X, Y)


@pytest.fixture(scope="module")
def in_one_process():
    return {name: search(name) for name in SEARCHES}


def results(found):
    return {
        name: np.asarray(values).tolist()
        for name, values in found.cv_results_.items()
        if not name.endswith("_time")
    }


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_gives_the_same_results_as_in_one_process(workers, in_one_process, name):
    if workers == "threading" and name in WITH_DROPOUT:
        pytest.skip("dropout draws from a generator that all threads of a process share")
    wanted = in_one_process[name]
    found = search(name, n_jobs=2)
    assert results(found) == results(wanted)
    assert len(set(found.cv_results_["mean_test_score"])) == 2
    assert np.array_equal(found.predict(X), wanted.predict(X))
    again = pickle.loads(pickle.dumps(found))
    assert results(again) == results(wanted)
    assert np.array_equal(again.predict(X), wanted.predict(X))


def test_fitted_estimators_of_workers_are_complete(workers, in_one_process):
    best = in_one_process["MF"].best_estimator_
    fitted = cross_validate(best, X, Y, cv=CV, n_jobs=2, return_estimator=True)["estimator"]
    for (rows, _), there in zip(CV.split(X), fitted, strict=True):
        here = clone(best).fit(X.iloc[rows], Y.iloc[rows])
        assert np.array_equal(there.predict(X), here.predict(X))
        assert there.loss_curve_ == here.loss_curve_
        assert there.recommend([X["user"].iloc[0]]).equals(here.recommend([X["user"].iloc[0]]))
        # Without the net, whose history STEPS reads.
        there, here = (pickle.loads(pickle.dumps(each)) for each in (there, here))
        assert np.array_equal(
            there.partial_fit(X, Y).predict(X), here.partial_fit(X, Y).predict(X)
        )


def test_torch_uses_one_thread_in_each_worker(workers):
    counts = Parallel(n_jobs=2)(delayed(torch.get_num_threads)() for _ in range(4))
    assert counts == [1, 1, 1, 1]
    search("MF", n_jobs=2)
    assert Parallel(n_jobs=2)(delayed(torch.get_num_threads)() for _ in range(4)) == counts
    assert torch.get_num_threads() == 1
