"""Tests of what the benchmarks read and write; nothing here is timed."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import sys
import zipfile
from copy import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import sklrec
from benchmarks import (
    _results,
    choose,
    curves,
    implicit,
    logs,
    ranking,
)
from benchmarks._baselines import SHRINKAGE, causal_biases, item_means, ridge, ridge_biases
from benchmarks._data import read_log
from benchmarks._models import CORNAC, SURPRISE
from benchmarks._peers import run
from benchmarks.peers import lists
from benchmarks.peers._serve import serve
from benchmarks.post import cut_windows

CSV = "u,book,stars,time\n1,a,4,8\n2,b,5,5\n1,a,1,6\n3,a,2,7\n"


def test_read_log_averages_repeated_pairs_in_order_of_appearance(tmp_path):
    path = tmp_path / "log.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("log.csv", CSV)
    expected = pd.DataFrame(
        {"user": [1, 2, 3], "item": ["a", "b", "a"], "rating": [2.5, 5.0, 2.0]}
    )
    pd.testing.assert_frame_equal(read_log(path, "u", "book", "stars"), expected)
    timed = read_log(path, "u", "book", "stars", "time")
    pd.testing.assert_frame_equal(timed, expected.assign(timestamp=[8, 5, 7]))


def test_read_log_names_the_columns_that_are_missing(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(CSV)
    with pytest.raises(
        ValueError, match=r"no column 'item', 'rating'; it has 'u', 'book', 'stars', 'time'\. Name"
    ):
        read_log(path, "u", "item", "rating")


@pytest.fixture
def in_process(monkeypatch):
    """Have `run` carry out its requests with these functions, in this process."""

    def use(build, fit, predict, *pairs):
        def call(command, time_limit=None, threads=None):
            monkeypatch.setattr("sys.argv", command[-2:])
            serve(build, fit, predict, *pairs)

        monkeypatch.setattr("benchmarks._peers.environment", lambda library: "python")
        monkeypatch.setattr("benchmarks._peers._call", call)
        monkeypatch.setattr("benchmarks.peers._serve.reset_peak", lambda: None)
        # The objects of all tests are many, and nothing is measured here.
        monkeypatch.setattr("benchmarks.peers._serve.gc", SimpleNamespace(collect=int))

    return use


def test_side_features_travel_to_those_that_take_them(in_process):
    log = pd.DataFrame({"user": [1, 2, 1], "item": ["a", "b", "b"], "rating": [1.0, 5.0, 3.0]})
    log = log.assign(genres=["x|y", "", "z"], year=[1990.0, np.nan, 2000.0])
    built = []
    in_process(
        lambda *columns, **side: built.append((*columns, side)),
        lambda trainset, shift: shift,
        lambda shift, asked: asked["year"] + shift,
        lambda users, items, **side: side,
    )
    unread = log.assign(other="never sent", rating=np.nan)[["other", *log.columns[::-1]]]
    answers = run(SURPRISE, log, unread[:1], [{"shift": -1987}, {"shift": -3000}])
    assert [answer.prediction.tolist() for answer in answers] == [[3.0], [1.0]]
    assert len(built) == 3  # the first is the warm-up
    *columns, scale, side = built[-1]
    assert [column.tolist() for column in columns] == [
        log[name].tolist() for name in list(log)[:3]
    ]
    assert scale == [1.0, 5.0]
    assert side["genres"].tolist() == ["x|y", "", "z"]
    np.testing.assert_array_equal(side["year"], log["year"])


def test_scores_that_only_rank_are_not_clipped(in_process):
    log = pd.DataFrame({"user": [1, 2], "item": [5, 6], "rating": [2.0, 4.0]})
    scales = []
    in_process(
        lambda users, items, ratings, scale: scales.append(scale),
        lambda trainset: None,
        lambda model, asked: np.array([-7.5, 9.0]),
    )
    (clipped,) = run(CORNAC, log, log)
    (ranked,) = run(CORNAC, log, log, scale=ranking.INFINITE)
    assert clipped.prediction.tolist() == [2.0, 4.0]
    assert ranked.prediction.tolist() == [-7.5, 9.0]
    assert scales[-1] == [-np.inf, np.inf]


def test_highest_scores_become_lists_without_what_was_rated():
    scores = pd.DataFrame(
        [[1.0, 3.0, 2.0, 3.0], [0.0, 0.0, 0.0, 5.0]], index=[7, 4], columns=[20, 30, 10, 40]
    )
    train = pd.DataFrame({"user": [7, 4, 9, 7], "item": [30, 40, 20, 99]})
    found = ranking.highest(scores, train, 2)
    expected = pd.DataFrame({"user": [7, 7, 4, 4], "item": [40, 10, 20, 30], "rank": [1, 2, 1, 2]})
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


EVENTS = pd.DataFrame(
    [(user, item) for user in range(30) for item in range(20) if (user + item) % 3],
    columns=["user", "item"],
).assign(count=1.0, timestamp=np.arange(400))


@pytest.mark.parametrize("is_last", [True, False])
def test_events_of_each_user_are_held_out(is_last):
    train, test = implicit.cut(EVENTS, 0, is_last)
    assert len(train) + len(test) == len(EVENTS) == len(train.index.union(test.index))
    sizes = EVENTS.groupby("user").size()
    wanted = 10 if is_last else (0.2 * sizes).round()
    assert (test.groupby("user").size() == wanted).all()
    if is_last:
        assert (test.groupby("user")["item"].min() > train.groupby("user")["item"].max()).all()


def test_lists_of_events_come_from_a_process_and_are_scored(monkeypatch):
    jobs = [{"random_state": 0}, {"random_state": 0, "confidence": "log"}]
    part = implicit.cut(EVENTS, 0, False)
    contender = implicit.CONTENDERS[0]

    def call(command, time_limit=None, threads=None):
        monkeypatch.setattr("sys.argv", command[-2:])
        lists.sklrec_events()

    monkeypatch.setattr("benchmarks._peers._call", call)
    one, other = implicit.evaluate(contender, jobs, part)
    model = sklrec.PopularityRecommender().fit(part.train[["user", "item"]])
    # IDs in the other process are codes, so that ties may be broken in another order.
    assert one[0] == other[0] == pytest.approx(model.score(part.test[["user", "item"]]), abs=0.1)
    assert 0 < one[0] < 1 and 0 < one[1] <= 1


def test_the_best_setting_is_chosen_and_half_of_the_settings_read_counts(monkeypatch):
    found = [(0.1, 0, 0), (0.3, 0, 0), (0.2, 0, 0)]
    monkeypatch.setattr(implicit, "evaluate", lambda *_: found)
    ease = next(c for c in implicit.CONTENDERS if c.name == implicit.EASE)
    settings = implicit.with_counts(ease, True)[:3]
    assert settings == [{"alpha": 12}, {"alpha": 25, "confidence": "log"}, {"alpha": 50}]
    assert implicit.choose(ease, settings, None) == settings[1]
    assert implicit.with_counts(ease, False) == ease.settings


def test_time_to_reach_is_that_of_the_first_fit_as_good_as_the_best_of_the_peer():
    als, ours = implicit.ALS, implicit.OURS
    rows = [[als, 1, 1.0, 0.5], [als, 2, 2.0, 0.9], [als, 3, 3.0, 0.9], [ours, 1, 0.5, 0.8]]
    assert implicit.time_to_reach(rows, als) == 2.0
    assert implicit.time_to_reach(rows, ours) == np.inf
    assert implicit.time_to_reach([*rows, [ours, 2, 0.7, 0.95]], ours) == 0.7


def test_bars_compare_ours_with_each_peer_in_paired_standard_errors():
    names = [implicit.EASE, implicit.POPULARITY, implicit.ALS]
    scores = [(0, [0.3, 0.1, 0.31]), (1, [0.3, 0.1, 0.29]), (2, [0.36, 0.1, 0.3])]
    frame = pd.DataFrame(
        [
            {"seed": seed, "model": name, "ndcg": ndcg}
            for seed, values in scores
            for name, ndcg in zip(names, values, strict=True)
        ]
    )
    found = {bar["what"]: bar for bar in implicit.bars(frame)}
    of_als = found[f"NDCG of {implicit.EASE} minus that of {implicit.ALS}, in standard errors"]
    gaps = np.array([-0.01, 0.01, 0.06])
    assert of_als["value"] == pytest.approx(gaps.mean() / (gaps.std(ddof=1) / 3**0.5))
    assert of_als["limit"] == -1 and of_als["met"]
    assert len(found) == 2


POINTS = pd.DataFrame(
    [
        ("sklrec MFRegressor", "max_epochs=3", 1.0, 0.92),
        ("sklrec MFRegressor", "max_epochs=9", 3.0, 0.90),
        ("LIBMF", "nr_iters=4", 1.0, 0.92),  # matched, if only just
        ("LIBMF", "nr_iters=8", 2.5, 0.91),
        ("LIBMF", "nr_iters=9", 4.0, 0.915),  # behind LIBMF itself
        ("myFM", "n_iter=300", 9.0, 0.88),  # better than any of ours
    ],
    columns=["model", "setting", "seconds", "rmse"],
)


def test_a_peers_point_is_matched_by_one_of_ours_no_later_and_no_worse():
    found = curves.front(POINTS)
    assert found["setting"].tolist() == ["nr_iters=4", "nr_iters=8", "nr_iters=9", "n_iter=300"]
    assert found["ours"].tolist() == [1.0, 3.0, 3.0, np.inf]
    assert found["our_setting"].tolist() == ["max_epochs=3", *["max_epochs=9"] * 2, ""]
    assert found["matched"].tolist() == [True, False, True, False]


RESULT = {
    "title": "Things",
    "notes": ["What was done."],
    "bars": [
        _results.bar("Ratio", 1.25, 1.2, ".2f"),
        _results.bar("Rate", 4.0, 3.0, ".1f", at_least=True),
        _results.bar("Seconds", float("inf"), 1.0, ".1f"),
    ],
    "tables": [
        {
            "title": "Times",
            "columns": {"Model": "", "Rows": ",d", "Fit, s": ".2f"},
            "rows": [["a", 1000, 0.456], ["b", 2, 3.0]],
        }
    ],
    "left_out": ["c: left out, slower than 3 s"],
}


def test_results_are_strict_json_with_a_row_in_each_line(tmp_path):
    facts = _results.machine()
    result = {**RESULT, "machine": facts, "value": np.float32(0.5), "missing": float("nan")}
    text = _results.write("beta", result, tmp_path).read_text()
    found = json.loads(text, parse_constant=pytest.fail)
    assert (found["value"], found["missing"]) == (0.5, None)
    assert found["tables"] == RESULT["tables"]
    assert '[ "a", 1000, 0.456 ]' in text
    assert found["machine"]["threads"] == 2


def test_the_page_has_the_main_tables_in_the_given_order(tmp_path):
    rows = [[str(number), number, 0.5] for number in range(15)]
    long = {**RESULT["tables"][0], "rows": rows}
    results = {
        "curves": RESULT,
        "curves_books": {**RESULT, "title": "Books", "tables": [long]},
        "other": {**RESULT, "title": "Other"},
        "out_of_core": {**RESULT, "title": "Large"},
    }
    for name, result in results.items():
        _results.write(name, result, tmp_path)
    page = _results.write_page(["missing", "out_of_core", "curves"], tmp_path).read_text()
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## Large", "## Things", "## Books", "## Other"]
    assert "| 9 | 9 | 0.50 |" in page and "| 10 | 10 |" not in page
    assert "15 rows in the file." in page
    assert "Missed: Ratio: 1.25 (at most 1.20); Seconds: not reached (at most 1.0)." in page


LOG = pd.DataFrame(
    {
        "user": [1, 2, 1, 1, 1, 2],
        "item": [7, 7, 8, 9, 8, 9],
        "timestamp": [10, 10, 20, 20, 30, 30],
        "rating": [5.0, 1.0, 4.0, 2.0, 3.0, 3.0],
    }
)


def test_item_means_are_shrunk():
    asked = pd.DataFrame({"user": [1, 3, 3], "item": [9, 7, 6]})
    items = [3 + (-1 + 0) / (2 + SHRINKAGE), 3 + (2 - 2) / (2 + SHRINKAGE), 3]
    np.testing.assert_allclose(item_means(LOG, asked), items)


def test_ridge_biases_are_those_of_the_normal_equations():
    X = pd.get_dummies(LOG[["user", "item"]].astype(str), dtype=float)
    penalties = [2.0] * 2 + [3.0] * 3
    X, y = X - X.mean(), LOG["rating"] - LOG["rating"].mean()  # the intercept has no penalty
    biases = np.linalg.solve(X.T @ X + np.diag(penalties), X.T @ y)
    design, fit = ridge(LOG)
    weights = fit(2.0, 3.0)
    np.testing.assert_allclose(weights[1:], biases, atol=1e-5)
    expected = LOG["rating"].mean() + X @ biases
    np.testing.assert_allclose(design(LOG) @ weights, expected, atol=1e-5)
    unknown = pd.DataFrame({"user": [3], "item": [6]})
    np.testing.assert_allclose(design(unknown) @ weights, weights[:1])


def test_penalties_of_ridge_biases_come_from_held_out_training_rows():
    rng = np.random.default_rng(0)
    users, items = np.repeat(range(1_000), 20), rng.integers(50, size=20_000)
    log = pd.DataFrame({"user": users, "item": items, "rating": rng.standard_normal(20_000)})
    assert ridge_biases(log, 0)(log).std() < 0.1  # means of users have a deviation of 0.22
    log["rating"] = log["user"] % 5 + 0.1 * log["rating"]
    np.testing.assert_allclose(ridge_biases(log, 0)(log), log["user"] % 5, atol=0.3)


def test_causal_biases_read_what_is_strictly_earlier():
    items = item_means(LOG, LOG)
    deviations = LOG["rating"].to_numpy() - items
    first = deviations[0] / (1 + SHRINKAGE)
    fourth = (deviations[0] + deviations[2] + deviations[3]) / (3 + SHRINKAGE)
    users = [0, 0, first, first, fourth, deviations[1] / (1 + SHRINKAGE)]
    np.testing.assert_allclose(causal_biases(LOG, LOG, LOG), items + users)
    backwards = LOG[::-1]
    np.testing.assert_allclose(causal_biases(LOG, backwards, backwards), (items + users)[::-1])
    unknown = pd.DataFrame({"user": [3], "item": [6], "timestamp": [99]})
    np.testing.assert_allclose(causal_biases(LOG, unknown, LOG), [3])


def test_validation_parts_leave_rows_of_each_log_to_learn_from():
    log = pd.DataFrame({"user": np.repeat(range(5), 20), "item": np.tile(range(20), 5)})
    log = log.assign(rating=1.0, timestamp=range(100), genres="x")
    found = dict(choose.parts("sequence", log, 2))
    assert list(found) == ["", ", last 10"]
    columns, pairs = found[", last 10"]
    assert columns == ["user", "item", "timestamp"]
    assert all(len(held_out) == 50 and not set(train) & set(held_out) for train, held_out in pairs)
    (_, (side, _)) = list(choose.parts("dense", log, 2))[1]
    assert side == ["user", "item", "timestamp", "genres"]
    assert [name for name, _ in choose.parts("mf", log, 2)] == [""]


def values_of(constant):
    modules = [vars(module) for key, module in sys.modules.items() if key.startswith("sklrec.")]
    return [copy(module[constant]) for module in modules if constant in module]


def test_constants_are_changed_in_all_modules_for_a_while():
    powers, of_rows = values_of("POWER"), values_of("PER_ROW")
    with choose.changed_constants({"POWER": 2.0, "PER_ROW": 0.5, "alpha": 3.0}):
        assert values_of("POWER") == [2 * power for power in powers]
        halves = [{key: 0.5 * value for key, value in values.items()} for values in of_rows]
        assert values_of("PER_ROW") == halves
    assert (values_of("POWER"), values_of("PER_ROW")) == (powers, of_rows)


@pytest.mark.parametrize("name", choose.CANDIDATES)
def test_the_package_has_the_constants_of_the_candidates(name):
    constants = {name for one in choose.CANDIDATES[name][2] for name in one if name.isupper()}
    assert all(values_of(name) for name in constants)


def test_windows_follow_time_and_leave_the_last_out():
    log = pd.DataFrame({"user": [5, 4, 5, 5, 5, 4, 5], "timestamp": [3, 1, 1, 2, 2, 0, 9]})
    windows, last = cut_windows(log, 2)
    assert [window.tolist() for window in windows] == [[2, 3], [4]]
    assert last.tolist() == [[5, 1], [0, 6]]


@pytest.mark.parametrize("noise", logs.NOISES)
@pytest.mark.parametrize("signal", logs.SIGNALS)
def test_a_generated_log_has_the_expectation_of_each_rating(signal, noise):
    log = logs.generate(10, signal, noise)
    assert len(log) == logs.N_RATINGS and not log.duplicated(["user", "item"]).any()
    assert (log["user"].value_counts() == 10).all()
    assert log["item"].value_counts().iloc[0] > 20 * log["item"].value_counts().median()
    error = log["rating"] - log["expected"]
    assert abs(error.mean()) < 0.03
    if signal == "no":
        assert log["expected"].std() < 1e-12
    else:
        slope = np.polyfit(log["expected"], log["rating"], 1)[0]
        assert slope == pytest.approx(1, abs=0.05)
    if noise == logs.STARS:
        assert set(log["rating"]) == {1.0, 2.0, 3.0, 4.0, 5.0}
        shares = log["rating"].value_counts(normalize=True).sort_index()
        np.testing.assert_allclose(shares, logs.SHARES, atol=0.03)
    else:
        assert log["expected"].var() == pytest.approx(logs.SIGNALS[signal], rel=0.2)


def test_ratios_and_bars_of_a_log(monkeypatch):
    def constant(value):
        return lambda known, seed: lambda rows: np.full(len(rows), value)

    def fail(known, seed):
        raise ValueError("no longer finite")

    better, worse = "better", "worse"
    fits = {logs.MEAN: constant(1.0), logs.BIASES: constant(3.5), better: constant(3.0)}
    others = {worse: constant(99.0), "failing": fail, logs.TIMED: fail, logs.SLOW: fail}
    monkeypatch.setattr(logs, "FITS", fits | others)
    log = pd.DataFrame({"rating": [1.0, 5.0], "expected": [2.0, 4.0]})
    rows = pd.DataFrame(logs.measure("mine", [(log, log)] * 2))
    assert rows["Failed"].dropna().tolist() == [
        f"mine, split {seed}: failing failed, no longer finite" for seed in range(2)
    ]
    found = logs.summary(rows).set_index("Model")
    assert list(found.index) == [*fits, worse, "failing"]  # generated, without timestamps
    biases = np.sqrt((2.5**2 + 1.5**2) / 2)
    assert found.loc[better, "RMSE"] == 2
    assert found.loc[better, logs.RATIO] == pytest.approx(2 / biases)
    assert found.loc[better, logs.ATTAINABLE] == 2
    assert found.loc[better, logs.APART] == pytest.approx(2 - biases)
    assert found.loc[worse, "RMSE"] == np.sqrt((4**2 + 0) / 2)  # clipped to 5
    assert found.loc["failing", logs.FIGURES].isna().all()
    good, bad, failed = logs.bars(found.reset_index())
    assert (good["met"], good["limit"]) == (True, logs.UNSURE_LIMIT)
    assert (bad["met"], bad["limit"]) == (False, logs.LIMIT)
    assert not failed["met"]
