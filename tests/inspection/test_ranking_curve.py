"""Plot of ranking metrics by the length of the lists."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest

from sklrec.inspection import RankingCurveDisplay
from sklrec.metrics import make_ranking_scorer


@pytest.mark.parametrize("candidates", ["all", "rated"])
def test_each_point_is_the_score_at_its_k(candidates, mf, test):
    metrics = ["precision", "recall", "ndcg", "map", "mrr", "hit_rate"]
    options = {"threshold": 4, "candidates": candidates}
    display = RankingCurveDisplay.from_estimator(mf, *test, metric=metrics, max_k=5, **options)
    for k in (1, 3, 5):
        scores = make_ranking_scorer(metrics, k, **options)(mf, *test)
        for metric in metrics:
            assert np.isclose(display.scores[metric][k - 1], scores[f"{metric}@{k}"])
            assert display.lines_[metric].get_xdata().tolist() == [1, 2, 3, 4, 5]
            assert np.isclose(display.lines_[metric].get_ydata()[k - 1], scores[f"{metric}@{k}"])


def test_models_share_axes(mf, bayesian, test):
    options = {"max_k": 4, "threshold": 4}
    first = RankingCurveDisplay.from_estimator(mf, *test, name="one", **options)
    second = RankingCurveDisplay.from_estimator(bayesian, *test, ax=first.ax_, **options)
    assert second.ax_ is first.ax_
    labels = [text.get_text() for text in second.ax_.get_legend().get_texts()]
    assert labels == [
        "one: precision@k",
        "one: recall@k",
        "BayesianMFRegressor: precision@k",
        "BayesianMFRegressor: recall@k",
    ]
    of_first = {line.get_color() for line in first.lines_.values()}
    of_second = {line.get_color() for line in second.lines_.values()}
    assert len(of_first) == len(of_second) == 1 and of_first != of_second
    precision, recall = first.lines_.values()
    assert precision.get_linestyle() != recall.get_linestyle()


def test_later_lines_are_inside_the_axes():
    low = RankingCurveDisplay({"ndcg": [0.1, 0.2]}).plot()
    high = RankingCurveDisplay({"ndcg": [0.8, 0.9]}).plot(ax=low.ax_, line_kwargs={"c": "red"})
    bottom, top = high.ax_.get_ylim()
    assert bottom == 0 and top > 0.9
    assert high.lines_["ndcg"].get_color() == "red"
    assert high.lines_["ndcg"].get_label() == "ndcg@k"


def test_bad_options_are_refused(mf, test):
    for options, message in (
        ({"metric": "auc", "threshold": 4}, "metric must be one of .*, got 'auc'"),
        ({"max_k": 0, "threshold": 4}, "max_k must be an integer of at least 1, got 0"),
        ({}, "Give the lowest good rating as threshold"),
    ):
        with pytest.raises(ValueError, match=message):
            RankingCurveDisplay.from_estimator(mf, *test, **options)
