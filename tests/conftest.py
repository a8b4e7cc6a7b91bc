"""What all tests share: one thread, and what the marks `movielens`, `needs` and `prints` do."""
# SPDX-License-Identifier: BSD-3-Clause

import functools
import importlib.metadata
import os
import sys
import warnings
from pathlib import Path

# Before scipy is imported: scikit-learn skips its array API checks without it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# Pictures are drawn without a screen, in doctests too.
os.environ.setdefault("MPLBACKEND", "agg")
# Tests in all folders import networks.py.
sys.path.insert(0, str(Path(__file__).parent))

import pytest
import torch
from hypothesis import settings
from packaging.requirements import Requirement

from sklrec.datasets import fetch_movielens

settings.register_profile("tests", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("tests")
# Versions whose output doctests and pages show.
NEWEST = ("numpy>=2.4", "pandas>=3.1", "scikit-learn>=1.9", "torch>=2.13")
collect_ignore = ["remote"]  # changes torch for good: test_gpu.py runs it in a process of its own


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Keep torch to one thread: sums come out the same, and a busy machine does no harm."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def _load_movielens():
    """Load (X, y) from the usual cache, fetching it if need be; else say why there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the mirror was used
        try:
            return fetch_movielens("100k", return_X_y=True), None
        except OSError as error:
            return None, f"MovieLens 100K cannot be had: {error}"


@pytest.fixture(scope="session")
def movielens():
    """Give (X, y) of MovieLens 100K, in the order of u.data; the test gets copies."""
    (X, y), _ = _load_movielens()
    return X.copy(), y.copy()


def pytest_sessionstart(session):
    """Fetch MovieLens 100K before the workers start, which would all do so at once."""
    if hasattr(session.config, "workerinput"):
        return
    if session.config.getoption("numprocesses", None):
        _load_movielens()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Skip what needs newer versions, or MovieLens 100K if it cannot be had; doctests do too."""
    for item in items:
        if any("fetch_movielens" in example.source for example in _examples(item)):
            item.add_marker("movielens")
        needs = [r for mark in item.iter_markers("needs") for r in mark.args]
        if _examples(item) or item.get_closest_marker("prints"):
            needs += NEWEST
        if missing := [requirement for requirement in needs if not _is_installed(requirement)]:
            item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))
    result = yield
    marked = [item for item in items if item.get_closest_marker("movielens")]
    if marked and not config.option.collectonly:
        _, reason = _load_movielens()
        for item in marked if reason else []:
            item.add_marker(pytest.mark.skip(reason=reason))
    return result


@functools.cache
def _is_installed(requirement):
    wanted = Requirement(requirement)
    installed = importlib.metadata.version(wanted.name)
    return wanted.specifier.contains(installed, prereleases=True)


def _examples(item):
    doctest = getattr(item, "dtest", None)
    return doctest.examples if doctest else []
