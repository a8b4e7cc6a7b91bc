"""The approximate index finds most items of the exact lists."""
# SPDX-License-Identifier: BSD-3-Clause

import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from torch_settings import other_settings

from sklrec import BayesianMFRegressor, DenseRecRegressor, MFRegressor
from sklrec.approximate import ApproximateItems
from sklrec.datasets import make_ratings

X, Y = make_ratings(200, 2_000, 12_000, random_state=0)
USERS = np.unique(X["user"])


@pytest.fixture(scope="module", params=[{}, {"biased": False}, {"svdpp": True}], ids=str)
def model(request):
    options = {"n_factors": 8, "alpha": 0.05, "rating_scale": None, "random_state": 0}
    return MFRegressor(**options, **request.param).fit(X, Y)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_most_items_are_those_of_the_exact_lists(model, exclude_seen):
    users = [*USERS[::-1], 99_999]
    exact = model.recommend(users, 10, exclude_seen=exclude_seen)
    found = ApproximateItems(model).recommend(users, 10, exclude_seen=exclude_seen)
    assert list(found.columns) == list(exact.columns)
    assert found["user"].tolist() == exact["user"].tolist()
    assert found["rank"].tolist() == exact["rank"].tolist()
    both = found[found["user"] != 99_999].merge(exact, on=["user", "item"])
    assert len(both) > 0.95 * 10 * len(USERS)
    assert both["score_x"].to_numpy() == pytest.approx(both["score_y"], rel=1e-5)


def test_lists_of_all_users_leave_out_exclusions(model):
    index = ApproximateItems(model)
    best = index.recommend(n_items=3)
    assert best["user"].tolist() == np.repeat(model.encoder_.categories_[0], 3).tolist()
    common = best["item"].value_counts().index[:50]
    by_user = dict(zip(USERS, [common] * len(USERS), strict=True))
    for exclude in (best, common, by_user):
        exact = model.recommend(USERS, 10, exclude=exclude)
        found = index.recommend(USERS, 10, exclude=exclude)
        assert len(found) == len(exact)
        assert len(found.merge(exact, on=["user", "item"])) > 0.95 * len(exact)
        wrong = best if exclude is best else best[best["item"].isin(common)]
        assert not len(found.merge(wrong, on=["user", "item"]))


def test_settings_of_torch_change_nothing(model):
    wanted = ApproximateItems(model).recommend(USERS[:50])
    with other_settings():
        assert ApproximateItems(model).recommend(USERS[:50]).equals(wanted)


def test_a_larger_search_finds_more(model):
    exact = set(map(tuple, model.recommend(USERS, 100)[["user", "item"]].to_numpy()))
    shares = []
    for options in ({"n_links": 2, "ef_construction": 2, "ef_search": 1}, {}):
        index = ApproximateItems(model, **options)
        pairs = set(map(tuple, index.recommend(USERS, 100)[["user", "item"]].to_numpy()))
        shares.append(len(pairs & exact) / len(exact))
    assert shares[0] < shares[1]


def test_a_later_fit_does_not_change_an_index():
    model = MFRegressor(n_factors=8, random_state=0).fit(X, Y)
    index = ApproximateItems(model)
    before = index.recommend(USERS[:9])
    model.fit(X.iloc[::-2], 10 * Y.iloc[::-2])
    assert index.recommend(USERS[:9]).equals(before)


def test_users_who_have_seen_nearly_all_items_get_the_others():
    few, stars = make_ratings(20, 12, 200, random_state=0)
    model = MFRegressor(n_factors=2, random_state=0).fit(few, stars)
    users = np.unique(few["user"])
    exact, found = (m.recommend(users, 10) for m in (model, ApproximateItems(model)))
    assert found["item"].tolist() == exact["item"].tolist()


def test_other_estimators_and_wrong_numbers_are_refused(model):
    with pytest.raises(NotFittedError):
        ApproximateItems(MFRegressor())
    bayesian = BayesianMFRegressor(n_iter=12).fit(X[:500], Y[:500])
    dense = DenseRecRegressor(max_epochs=1).fit(X[["user", "item"]][:500], Y[:500])
    for other in (bayesian, dense):
        with pytest.raises(ValueError, match="ApproximateItems needs a fitted MFRegressor, got"):
            ApproximateItems(other)
    with pytest.raises(ValueError, match="n_links must be an integer of at least 1, got 0"):
        ApproximateItems(model, n_links=0)
    with pytest.raises(ValueError, match="n_items must be an integer of at least 1, got 0"):
        ApproximateItems(model).recommend([1], 0)
    with pytest.raises(ValueError, match="exclude_seen must be True or False, got 'no'"):
        ApproximateItems(model).recommend([1], exclude_seen="no")


def test_an_error_names_the_missing_faiss(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"pip install 'sklrec\[approximate\]'"):
        ApproximateItems(model)
