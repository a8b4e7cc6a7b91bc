"""The demo runs, prints its tables and draws its picture."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parent.parent / "docs" / "examples" / "plot_movielens.py"
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


@pytest.mark.movielens
def test_movielens_demo(movielens, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", WITH_FEWER_RATINGS, DEMO],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg", "PYTHONWARNINGS": "error::FutureWarning"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
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
