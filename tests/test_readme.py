"""The README's code does what the README says, also with a log of one's own."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from pathlib import Path

import pytest

from sklrec.datasets import make_ratings

README = Path(__file__).parent.parent / "README.md"


BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_first_code_leads_from_a_csv_file_to_recommendations(tmp_path, monkeypatch):
    first = BLOCKS[0]
    assert len(first.strip().splitlines()) <= 10
    X, y = make_ratings(30, 20, n_ratings=300, random_state=0)
    users = (
        X["user"]
        .astype("category")
        .cat.rename_categories(
            lambda user: {X["user"][0]: "ann", X["user"][1]: "bob"}.get(user, f"user {user}")
        )
    )
    log = X.assign(user=users, item="film " + X["item"].astype(str), rating=y.round(1))
    log[["user", "item", "rating"]].to_csv(tmp_path / "ratings.csv", index=False)
    monkeypatch.chdir(tmp_path)

    *statements, last = first.strip().splitlines()
    names: dict = {}
    exec(compile("\n".join(statements), str(README), "exec"), names)
    lists = eval(compile(last, str(README), "eval"), names)

    assert lists.columns.to_list() == re.search(r"# columns (.*)$", last)[1].split(", ")
    assert set(lists["user"]) == {"ann", "bob"}
    assert lists["item"].str.startswith("film ").all()
    rated = names["log"][["user", "item"]]
    assert len(lists) > 10 and lists.merge(rated).empty


@pytest.mark.movielens
def test_code_runs_as_written(movielens, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # it writes files
    blocks = BLOCKS[1:]  # those with the file of one's own have the test above
    assert len(blocks) >= 3
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert set(names["search"].best_params_) == {"mfregressor__n_factors", "mfregressor__alpha"}
    assert len(names["mf"].recommend([196, 944], n_items=10)) == 20


def test_commands_are_make_targets():
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"\$ make ([\w-]+)", README.read_text()):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_linked_files_exist():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text()):
        assert (README.parent / link).exists(), link
