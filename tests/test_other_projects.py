"""Links of the documentation to other projects: names exist, and inventories can be read."""
# SPDX-License-Identifier: BSD-3-Clause

import importlib
import importlib.util
import zlib
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def projects():
    path = DOCS / "other_projects.py"
    spec = importlib.util.spec_from_file_location("other_projects", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_linked_name_exists(projects):
    importlib.import_module("sklearn.experimental.enable_halving_search_cv")
    for name in projects.NAMES:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_short_names_are_unambiguous(projects):
    assert len({name.rpartition(".")[2] for name in projects.NAMES}) == len(projects.NAMES)
    assert projects.links()["GridSearchCV"] == (
        "https://scikit-learn.org/stable/modules/generated/"
        "sklearn.model_selection.GridSearchCV.html#sklearn.model_selection.GridSearchCV"
    )


def test_inventories_have_the_format_of_sphinx(projects, tmp_path):
    mapping = projects.write_inventories(tmp_path)
    found = []
    for url, path in mapping.values():
        *header, body = Path(path).read_bytes().split(b"\n", 4)
        assert header[0] == b"# Sphinx inventory version 2" and url.endswith("/")
        found += [line.split()[0] for line in zlib.decompress(body).decode().splitlines()]
    assert sorted(found) == sorted(projects.NAMES)
