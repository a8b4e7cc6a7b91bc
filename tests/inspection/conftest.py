"""Fixtures of displays: small ratings and fitted models."""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import pytest

from sklrec import BayesianMFRegressor, MFRegressor
from sklrec.datasets import make_ratings


@pytest.fixture(autouse=True)
def closed_figures():
    """Close all figures."""
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def train():
    """(X, y) of training ratings in whole stars."""
    X, y = make_ratings(100, 50, n_ratings=2000, step=1, random_state=0)
    return X[:1500], y[:1500]


@pytest.fixture(scope="session")
def test():
    """(X, y) of test ratings of the same users and items."""
    X, y = make_ratings(100, 50, n_ratings=2000, step=1, random_state=0)
    return X[1500:], y[1500:]


@pytest.fixture(scope="session")
def mf(train, test):
    """An MFRegressor with validation."""
    X_val, y_val = test
    mf = MFRegressor(n_factors=4, max_epochs=5, early_stopping=False, random_state=0)
    return mf.fit(*train, X_val=X_val, y_val=y_val)


@pytest.fixture(scope="session")
def bayesian(train):
    """A model that predicts standard deviations."""
    return BayesianMFRegressor(n_factors=4, n_iter=30, random_state=0).fit(*train)
