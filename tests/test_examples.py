"""The examples that print tables run, and the tables are right."""
# SPDX-License-Identifier: BSD-3-Clause

import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from sklrec.datasets import fetch_movielens

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
DEMO, POST = EXAMPLES / "plot_movielens.py", EXAMPLES / "plot_from_the_post.py"
POSTS_FIGURES = ("0.6600", "0.2800", "0.4300")  # of its three networks


@pytest.fixture
def run_example(monkeypatch, tmp_path, capfd):
    """Run the code of an example in an empty folder, and return what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(path, code):
        width = pd.option_context("display.width", 100, "display.max_columns", 10)
        with warnings.catch_warnings(action="error", category=FutureWarning), width:
            exec(compile(code, path, "exec"), {"__name__": "__main__", "__file__": str(path)})
        plt.close("all")
        return capfd.readouterr()

    return run


@pytest.mark.movielens
def test_networks_of_the_post(run_example):
    lines = run_example(POST, POST.read_text().replace("<= 30", "<= 4")).out.splitlines()
    errors = [float(re.search(r"[a-z] {2,}(\d\.\d{4})", line)[1]) for line in lines[2:]]
    assert len(errors) == 13
    assert errors[0] > 1 and errors[1] > 1  # factors far from the ratings
    assert max(errors[4], errors[8], errors[12]) < min(errors[:2])  # defaults
    for line, figure in zip((lines[2], lines[7], lines[11]), POSTS_FIGURES, strict=True):
        assert line.endswith(f" {figure}")


@pytest.mark.movielens
def test_movielens_demo(run_example, monkeypatch, tmp_path):
    movielens = fetch_movielens("100k")  # the demo takes a minute for all ratings
    movielens.data, movielens.target = movielens.data[:5_000], movielens.target[:5_000]
    monkeypatch.setattr("sklrec.datasets.fetch_movielens", lambda name: movielens)
    printed = run_example(DEMO, DEMO.read_text())
    last = printed.out.rstrip().splitlines()[-1]
    assert re.match(r" *10 .+ \(\d{4}\) ", last)  # the tenth film, with its title
    assert "u1  each user's last 10" in printed.out
    for name in ("MFRegressor", "DenseRecRegressor", "SequenceRatingRegressor"):
        assert f"\n{name} " in printed.out
    assert "Recommended to user 196 by " in printed.out
    assert "Films like Star Wars (1977):" in printed.out
    assert "Empire Strikes Back, The (1980)" in printed.out
    assert "15/15" in printed.err  # the end of the progress bar
    assert (tmp_path / "demo_output" / "movielens.png").stat().st_size > 10_000


@pytest.fixture
def few_ratings(monkeypatch):
    """Let examples see the first ratings of MovieLens 100K only."""
    movielens = fetch_movielens("100k")
    movielens.data, movielens.target = movielens.data[:6_000], movielens.target[:6_000]

    def fetch(name, return_X_y=False):
        return (movielens.data, movielens.target) if return_X_y else movielens

    monkeypatch.setattr("sklrec.datasets.fetch_movielens", fetch)


@pytest.mark.movielens
@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("cold_start", r"ratings of each new user +RMSE\n +0 \d\.\d{3}\n(.*\n){5} +50 \d\.\d{3}"),
        ("monitoring", r"week 7: unknown items\n(.*\n)*week 12: .*mean error.*unknown items"),
        (
            "side_features",
            r"biases +users and films +with side features\nlast ratings(  +\d\.\d+){3}",
        ),
        ("stacking", r"\n(voting|stack) +\d\.\d{4}\n(.*\n)*biases +-?\d\.\d+\n"),
        ("tuning", r"epochs: \[2, 6, 18\] settings: \[20, 7, 3\]\ndefaults \d\.\d{4}\nfound"),
        ("uncertainty", r"0\.95 +0\.9\d*\n(.*\n)*n_std=1\n +film +ratings"),
    ],
)
def test_short_example_prints_its_table_and_draws(
    run_example, few_ratings, monkeypatch, name, printed
):
    drawn = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append(plt.gcf()))
    path = EXAMPLES / f"plot_{name}.py"
    output = run_example(path, path.read_text())
    assert re.search(printed, output.out), output.out
    assert not output.err  # no progress bar
    assert drawn
