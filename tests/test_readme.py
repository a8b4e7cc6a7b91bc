"""The README's example does what the README says."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.movielens
def test_code_runs_as_written(movielens):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 3
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert set(names["search"].best_params_) == {"mfregressor__n_factors", "mfregressor__alpha"}
    assert len(names["mf"].recommend([196, 944], n_items=10)) == 20


def test_commands_are_make_targets():
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"\$ make (\w+)", README.read_text()):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_linked_files_exist():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text()):
        assert (README.parent / link).exists(), link
