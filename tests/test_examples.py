"""The examples run, and print and draw what they promise."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


@pytest.mark.movielens
def test_movielens_demo(movielens, tmp_path):
    run = subprocess.run(
        [sys.executable, EXAMPLES / "plot_movielens.py"],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg", "PYTHONWARNINGS": "error::FutureWarning"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert "u1 to u5  each user's last 10" in run.stdout
    for name in ("MFRegressor", "DenseRecRegressor", "SequenceRatingRegressor"):
        assert f"\n{name} " in run.stdout
    assert "Recommended by " in run.stdout
    assert "Films like Star Wars (1977):" in run.stdout
    assert "Empire Strikes Back, The (1980)" in run.stdout
    assert "15/15" in run.stderr  # the progress bar got to its end
    assert (tmp_path / "demo_output" / "movielens.png").stat().st_size > 10_000
