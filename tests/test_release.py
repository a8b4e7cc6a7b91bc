"""What a release needs: the same version in all files, the address, and reasons for exceptions."""
# SPDX-License-Identifier: BSD-3-Clause

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sklrec

ROOT = Path(__file__).parent.parent
URL = "https://forge.example/someone/sklrec"


def set_home(folder, *arguments):
    for name in ("set_home.py", "pyproject.toml", "CITATION.cff", "README.md"):
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder)
    command = [sys.executable, "set_home.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_version_is_the_same_in_all_files():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    assert project["version"] == sklrec.__version__ == cited[1]
    heading = re.search(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    is_released = "dev" not in sklrec.__version__
    assert heading[1] == (sklrec.__version__ if is_released else "Unreleased")


def test_one_command_sets_the_address(tmp_path):
    found = set_home(tmp_path, URL)
    assert found.returncode == 0, found.stderr
    before, after = (
        tomllib.loads((folder / "pyproject.toml").read_text()) for folder in (ROOT, tmp_path)
    )
    assert after["project"].pop("urls")["Source"] == URL
    assert after == before
    assert f"\nrepository-code: {URL}\nlicense:" in (tmp_path / "CITATION.cff").read_text()
    links = re.findall(r"\]\(([^)]+)\)", (tmp_path / "README.md").read_text())
    relative = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert all(link.startswith(("https:", "#")) for link in links)
    assert f"{URL}/blob/main/CHANGELOG.md" in links and len(links) == len(relative)
    assert f"{URL}/raw/main/docs/_pictures/flow.svg" in links  # the file, and not a page about it


@pytest.mark.parametrize("arguments", [(), ("forge.example",), ("https://a.b/c", "d")])
def test_a_wrong_address_changes_nothing(tmp_path, arguments):
    assert set_home(tmp_path, *arguments).returncode
    for name in ("pyproject.toml", "CITATION.cff", "README.md"):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()


def test_a_second_address_is_refused(tmp_path):
    set_home(tmp_path, URL)
    assert "has an address already" in set_home(tmp_path, URL + "2").stderr


def test_the_guide_for_contributors_argues_each_check_that_is_ignored():
    ignored = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["repo-review"]["ignore"]
    argued = re.findall(r"\b[A-Z]{2,3}\d{3}\b", (ROOT / "CONTRIBUTING.md").read_text())
    assert sorted(argued) == sorted(ignored)


def test_workflows_call_existing_targets_and_scripts():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    called = [
        name
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for name in re.findall(r"make ([a-z-]+)", path.read_text())
    ]
    assert called and set(called) <= set(targets)
