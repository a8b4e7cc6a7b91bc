"""Tests of what the benchmarks read and write; nothing here is timed."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks import _models, _results
from benchmarks._baselines import SHRINKAGE, causal_biases, item_means
from benchmarks._data import folds, mae, read_log, rmse
from benchmarks._models import CORNAC, SURPRISE
from benchmarks._peers import REQUIREMENTS, ROOT, Answer, Field, LeftOut, environment, run
from benchmarks._post_models import PostDense, PostLSTM, PostMF, cut_windows, train

CSV = "u,book,stars,other\n1,a,4,x\n2,b,5,x\n1,a,1,x\n3,a,2,x\n"


def test_read_log_averages_repeated_pairs_in_order_of_appearance(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(CSV)
    log = read_log(path, "u", "book", "stars")
    expected = pd.DataFrame(
        {"user": [1, 2, 3], "item": ["a", "b", "a"], "rating": [2.5, 5.0, 2.0]}
    )
    pd.testing.assert_frame_equal(log, expected)


def test_read_log_reads_a_zip_of_one_csv(tmp_path):
    plain, packed = tmp_path / "log.csv", tmp_path / "log.csv.zip"
    plain.write_text(CSV)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("log.csv", CSV)
    pd.testing.assert_frame_equal(
        read_log(packed, "u", "book", "stars"), read_log(plain, "u", "book", "stars")
    )


def test_read_log_names_the_columns_that_are_missing(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(CSV)
    with pytest.raises(
        ValueError,
        match=r"no column 'item', 'rating'; it has 'u', 'book', 'stars', 'other'\. Name",
    ):
        read_log(path, "u", "item", "rating")


def test_folds_without_shuffling_are_consecutive_fifths():
    log = pd.DataFrame({"user": range(10), "item": range(10), "rating": range(10)})
    tests = [test["user"].tolist() for _, test in folds(log, shuffle=False)]
    assert tests == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    shuffled = [test["user"].tolist() for _, test in folds(log, shuffle=True)]
    assert sorted(np.concatenate(shuffled)) == list(range(10))
    assert shuffled != tests


def test_errors_in_the_unit_of_the_ratings():
    truth, prediction = np.array([1.0, 2.0]), np.array([4.0, 6.0])
    assert rmse(truth, prediction) == np.sqrt(12.5)
    assert mae(truth, prediction) == 3.5


def test_every_requirement_is_pinned_exactly():
    lines = [line for lines in REQUIREMENTS.values() for line in lines]
    assert lines and all(line.count("==") == 1 for line in lines)


def test_every_library_has_requirements_and_a_peer():
    found = {model.library for model in vars(_models).values() if isinstance(model, _models.Model)}
    assert found == {"sklrec", *REQUIREMENTS}
    peers = {path.stem for path in (ROOT / "benchmarks" / "peers").glob("*_peer.py")}
    assert peers == {f"{library}_peer" for library in found}


def test_field_drops_a_model_that_fails_and_says_why(monkeypatch, capsys):
    answer = Answer(np.zeros(1), *range(6))

    def fake_run(model, *args, **kwargs):
        if model is CORNAC:
            raise LeftOut("slower than 3 s")
        return [answer]

    monkeypatch.setattr("benchmarks._peers.run", fake_run)
    field = Field([SURPRISE, CORNAC], time_limit=3)
    assert field.run(SURPRISE, None, None) == [answer]
    assert field.run(CORNAC, None, None) is None
    assert field.models == [SURPRISE]
    assert field.left_out == ["Cornac MF: left out, slower than 3 s"]
    assert field.left_out[0] in capsys.readouterr().out
    assert field.run(CORNAC, None, None) is None


def test_a_library_that_cannot_be_installed_is_tried_once(monkeypatch, tmp_path):
    tried = []

    def fail(command, time_limit=None):
        tried.append(command)
        raise LeftOut("no matching distribution")

    monkeypatch.setattr("benchmarks._peers.ENVIRONMENTS", tmp_path)
    monkeypatch.setattr("benchmarks._peers._environments", {})
    monkeypatch.setattr("benchmarks._peers.venv.create", lambda folder, **options: None)
    monkeypatch.setattr("benchmarks._peers._call", fail)
    for _ in range(2):
        with pytest.raises(LeftOut, match=r"^cannot be installed here: no matching distribution$"):
            environment("surprise")
    assert len(tried) == 1


def test_run_reports_the_last_line_of_an_error(monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho first >&2; echo 'KeyError: 7' >&2; exit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr("benchmarks._peers.environment", lambda library: script)
    log = pd.DataFrame({"user": [1], "item": ["a"], "rating": [3.0]})
    with pytest.raises(LeftOut, match=r"^KeyError: 7$"):
        run(SURPRISE, log, log)


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


def test_render():
    expected = """\
## Things

What was done.

| Figure | Measured | Bar | Met |
| --- | --- | --- | --- |
| Ratio | 1.25 | at most 1.20 | **no** |
| Rate | 4.0 | at least 3.0 | yes |
| Seconds | not reached | at most 1.0 | **no** |

### Times

| Model | Rows | Fit, s |
| --- | ---: | ---: |
| a | 1,000 | 0.46 |
| b | 2 | 3.00 |

- c: left out, slower than 3 s"""
    assert _results.render(RESULT) == expected


def test_results_are_strict_json_and_the_page_has_the_asked_order(tmp_path):
    facts = _results.machine()
    _results.write("beta", {**RESULT, "machine": facts, "value": np.float32(0.5)}, tmp_path)
    _results.write("alpha", {"title": "Other", "tables": []}, tmp_path)
    _results.write("omega", {"title": "Last", "tables": []}, tmp_path)
    found = json.loads((tmp_path / "beta.json").read_text(), parse_constant=pytest.fail)
    assert found["value"] == 0.5
    assert found["machine"]["threads"] == 2
    _results.write_page(["missing", "omega", "beta"], tmp_path)
    page = (tmp_path / "README.md").read_text()
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## Last", "## Things", "## Other"]
    assert facts["python"] in page
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".json", ".md"]


def test_page_draws_curves(tmp_path):
    pytest.importorskip("matplotlib")
    curves = [{"model": "a", "seconds": [0.1, 1.0], "rmse": [0.95, 0.91]}]
    _results.write("curve", {"title": "Curve", "tables": [], "curves": curves}, tmp_path)
    _results.write_page([], tmp_path)
    assert "![Curve](curve.svg)" in (tmp_path / "README.md").read_text()
    assert "<svg" in (tmp_path / "curve.svg").read_text()


LOG = pd.DataFrame(
    {
        "user": [1, 2, 1, 1, 1, 2],
        "item": [7, 7, 8, 9, 8, 9],
        "timestamp": [10, 10, 20, 20, 30, 30],
        "rating": [5.0, 1.0, 4.0, 2.0, 3.0, 3.0],
    }
)


def test_item_means_are_shrunk_towards_the_mean():
    asked = pd.DataFrame({"item": [9, 7, 6]})
    expected = [3 + (-1 + 0) / (2 + SHRINKAGE), 3 + (2 - 2) / (2 + SHRINKAGE), 3]
    np.testing.assert_allclose(item_means(LOG, asked), expected)


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


def test_windows_follow_time_and_leave_the_last_out():
    log = pd.DataFrame({"user": [5, 4, 5, 5, 5, 4, 5], "timestamp": [3, 1, 1, 2, 2, 0, 9]})
    windows, last = cut_windows(log, 2)
    assert [window.tolist() for window in windows] == [[2, 3], [4]]
    assert last.tolist() == [[5, 1], [0, 6]]


def test_the_posts_modules_have_the_posts_parameters():
    factors = PostMF(4, 6, 3)
    assert [tuple(p.shape) for p in factors.parameters()] == [(4, 3), (6, 3)]
    users, items = torch.tensor([1, 3]), torch.tensor([5, 0])
    product = factors.user_factors.weight[users] * factors.item_factors.weight[items]
    torch.testing.assert_close(factors(users, items), product.sum(1))
    factors(users, items).sum().backward()
    assert factors.user_factors.weight.grad.is_sparse

    dense = PostDense(4, 6, 3, 7, 1)
    shapes = [(4, 3), (6, 3), (7, 6), (7,), (1, 7), (1,)]
    assert [tuple(p.shape) for p in dense.parameters()] == shapes
    assert dense(users, items).shape == (2,)


def test_the_posts_lstm_reads_items_up_to_the_position_from_zero_states():
    torch.manual_seed(0)
    module = PostLSTM(4, 5, 9, 1)
    windows = torch.tensor([[1, 2, 3, 4], [1, 2, 8, 4]])
    first, second = module(windows)
    torch.testing.assert_close(first[:2], second[:2])
    assert (first[2:] != second[2:]).all()
    torch.testing.assert_close(module(windows[1]), second)


def test_gradients_that_are_never_zeroed_add_up():
    inputs, targets = [torch.ones(3, 1)], torch.zeros(3, 1)
    ends = []
    for zeroed in (True, False):
        module = nn.Linear(1, 1, bias=False)
        nn.init.ones_(module.weight)
        done = train(module, inputs, targets, lr=0.25, max_seconds=60, zero_gradients=zeroed)
        assert done.n_samples == 3
        ends.append(module.weight.item())
    # the slope at w is 2 w: w halves at each step, or goes 1, 0.5, -0.25, -0.875
    assert ends == [0.125, -0.875]


def test_a_training_that_runs_out_of_time_extrapolates_its_epoch():
    inputs, targets = [torch.ones(5, 1)], torch.zeros(5, 1)
    done = train(nn.Linear(1, 1), inputs, targets, lr=0.1, n_epochs=2, max_seconds=0)
    assert done.n_samples == 1
    assert done.epoch_seconds == pytest.approx(5 * done.seconds)
