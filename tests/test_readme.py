"""The README's code does what the README says."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sklrec.datasets import fetch_movielens

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text()


def printed_table(text):
    return pd.read_fwf(StringIO(text), colspecs="infer")


@pytest.mark.movielens
@pytest.mark.prints
def test_code_runs_and_prints_what_is_shown(tmp_path, monkeypatch, capsys):
    films = fetch_movielens("100k")
    titles = films.item_frame.set_index("item")["title"]
    log = films.data[["user"]].assign(item=films.data["item"].map(titles), rating=films.target)
    log.to_csv(tmp_path / "ratings.csv", index=False)
    monkeypatch.chdir(tmp_path)

    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL):
        exec(compile(block, str(README), "exec"), names)
        # What is printed comes from all ratings. The cross-validation takes long with them.
        names["log"] = names["log"][:5_000]

    shown = printed_table(re.search(r"```\n( .*?)```", TEXT, flags=re.DOTALL)[1])
    printed = printed_table(capsys.readouterr().out)
    pd.testing.assert_frame_equal(printed.drop(columns="score"), shown.drop(columns="score"))
    np.testing.assert_allclose(printed["score"], shown["score"], atol=0.001)
    assert len(names["scores"]) == 5 and (names["std"] > 0).all()


def test_first_code_has_six_lines():
    first = re.search(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)[1]
    assert len([line for line in first.splitlines() if line]) <= 6


def test_text_has_at_most_600_words_with_tables():
    text = re.sub(r"```.*?```|<!--.*?-->", "", TEXT, flags=re.DOTALL)
    assert len(text.split()) <= 600


def test_linked_files_exist():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (README.parent / link).exists(), link
