"""The documentation: its code runs as written, and its API reference is complete."""
# SPDX-License-Identifier: BSD-3-Clause

import doctest
import importlib
import pkgutil
import re
import warnings
from pathlib import Path

import pytest

import sklrec

DOCS = Path(__file__).parent.parent / "docs"
MADE_BY_THE_BUILD = {"_build", "generated", "auto_examples"}
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.rst")
    if MADE_BY_THE_BUILD.isdisjoint(path.relative_to(DOCS).parts)
)


def examples_of(page):
    return doctest.DocTestParser().get_doctest((DOCS / page).read_text(), {}, page, page, 0)


PAGES_WITH_CODE = [
    pytest.param(page, marks=pytest.mark.movielens)
    if "fetch_movielens(" in (DOCS / page).read_text()
    else page
    for page in PAGES
    if examples_of(page).examples
]


@pytest.mark.parametrize("page", PAGES_WITH_CODE)
def test_code_of_a_page_runs_as_written(page):
    report = []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.REPORT_ONLY_FIRST_FAILURE
    runner = doctest.DocTestRunner(optionflags=flags)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        runner.run(examples_of(page), out=report.append)
    assert not runner.summarize(verbose=False).failed, "".join(report)


@pytest.mark.parametrize("page", PAGES)
def test_no_code_escapes_the_doctests(page):
    text = (DOCS / page).read_text()
    for language in re.findall(r"^ *\.\. code(?:-block)?::(.*)$", text, flags=re.MULTILINE):
        assert language.strip() == "console"
    without_directives = re.sub(r"^ *\.\. .*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"::$", without_directives, flags=re.MULTILINE)  # a literal block


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page):
    makefile = (DOCS.parent / "Makefile").read_text()
    for target in re.findall(r"\$ make (\w+)", (DOCS / page).read_text()):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_every_public_name_is_in_the_api_reference():
    reference = (DOCS / "api.rst").read_text()
    documented = set()
    for section in re.split(r"^\.\. module:: ", reference, flags=re.MULTILINE)[1:]:
        module = section.split(maxsplit=1)[0]
        names = re.findall(r"^   (\w+)$|^\.\. data:: (\w+)$", section, flags=re.MULTILINE)
        documented |= {f"{module}.{''.join(name)}" for name in names}
    modules = [m.name for m in pkgutil.iter_modules(sklrec.__path__) if m.name[0] != "_"]
    public = {
        f"sklrec.{module}.{name}"
        for module in modules
        for name in getattr(importlib.import_module(f"sklrec.{module}"), "__all__", ())
    }
    # what both the package and a part of it export is documented there
    elsewhere = {path.rpartition(".")[2] for path in public}
    public |= {f"sklrec.{name}" for name in sklrec.__all__ if name not in elsewhere}
    assert documented == public
