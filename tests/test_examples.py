"""The examples that print tables run, and the tables are right."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
DEMO, POST = EXAMPLES / "plot_movielens.py", EXAMPLES / "plot_from_the_post.py"
POSTS_FIGURES = ("0.6600", "0.2800", "0.4300")  # of its three networks
# The demo takes a minute for all ratings.
WITH_FEWER_RATINGS = """
import runpy, sys
from sklrec import datasets

def fetch_some(name):
    found = all_of(name)
    found.data, found.target = found.data[:8_000], found.target[:8_000]
    return found

all_of, datasets.fetch_movielens = datasets.fetch_movielens, fetch_some
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def run_python(*arguments, cwd):
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "MPLBACKEND": "agg", "PYTHONWARNINGS": "error::FutureWarning"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return run


@pytest.mark.movielens
def test_networks_of_the_post(movielens, tmp_path):
    small = f"exec(open({str(POST)!r}).read().replace('<= 30', '<= 6'))"
    lines = run_python("-c", small, cwd=tmp_path).stdout.splitlines()
    errors = [float(re.search(r"[a-z] {2,}(\d\.\d{4})", line)[1]) for line in lines[2:]]
    assert len(errors) == 13
    assert errors[0] > 1 and errors[1] > 1  # factors far from the ratings
    assert max(errors[4], errors[8], errors[12]) < min(errors[:2])  # defaults
    for line, figure in zip((lines[2], lines[7], lines[11]), POSTS_FIGURES, strict=True):
        assert line.endswith(f" {figure}")


@pytest.mark.movielens
def test_movielens_demo(movielens, tmp_path):
    run = run_python("-c", WITH_FEWER_RATINGS, DEMO, cwd=tmp_path)
    last = run.stdout.rstrip().splitlines()[-1]
    assert re.match(r" *10 .+ \(\d{4}\) ", last)  # the tenth film, with its title
    assert "u1  each user's last 10" in run.stdout
    for name in ("MFRegressor", "DenseRecRegressor", "SequenceRatingRegressor"):
        assert f"\n{name} " in run.stdout
    assert "Recommended to user 196 by " in run.stdout
    assert "Films like Star Wars (1977):" in run.stdout
    assert "Empire Strikes Back, The (1980)" in run.stdout
    assert "15/15" in run.stderr  # the end of the progress bar
    assert (tmp_path / "demo_output" / "movielens.png").stat().st_size > 10_000
