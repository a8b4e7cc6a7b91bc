"""Tests of what the benchmarks read and write; nothing here is timed."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import zipfile

import numpy as np
import pandas as pd
import pytest

from benchmarks import _results
from benchmarks._data import folds, mae, read_log, rmse
from benchmarks._models import CORNAC, SURPRISE
from benchmarks._peers import REQUIREMENTS, Answer, Field, LeftOut, environment, run

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
