"""What notebooks show of an estimator: its parameters and, once it is fitted, its sizes."""
# SPDX-License-Identifier: BSD-3-Clause

import re

import pytest

from sklrec import (
    BayesianFMRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec.datasets import make_ratings

ESTIMATORS = [
    MFRegressor(n_factors=3, max_epochs=2),
    MFRegressor(n_factors=3, solver="als", n_iter=2, tol=0),
    BayesianFMRegressor(n_factors=3, n_iter=2, n_burn_in=1),
    DenseRecRegressor(n_factors=3, max_epochs=2),
    SequenceRatingRegressor(n_factors=3, hidden_size=2, max_epochs=2),
]


def shown_by(estimator, title):
    html = estimator._repr_html_()
    table = html[html.index(title) :]
    table = table[: table.index("</table>")]
    return " ".join(re.sub(r"<[^>]*>", " ", table).split())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_parameters_and_fitted_sizes_are_shown(estimator):
    assert "n_factors 3" in shown_by(estimator, "Parameters")
    assert "Fitted attributes" not in estimator._repr_html_()
    X, y = make_ratings(n_users=12, n_items=9, n_ratings=60, random_state=0)
    shown = shown_by(estimator.fit(X, y), "Fitted attributes")
    n_pairs = len(X[["user", "item"]].drop_duplicates())
    for size in (
        "n_users_ int 12",
        "n_items_ int 9",
        f"n_ratings_ int {n_pairs}",
        "n_iter_ int 2",
    ):
        assert size in shown


def test_sizes_are_not_there_before_fit():
    mf = MFRegressor()
    assert not any(hasattr(mf, name) for name in ("n_users_", "n_items_", "n_ratings_"))
