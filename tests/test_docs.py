"""The documentation: its code runs as written, and its API reference is complete."""
# SPDX-License-Identifier: BSD-3-Clause

import doctest
import importlib
import pkgutil
import re
import runpy
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

import sklrec

DOCS = Path(__file__).parent.parent / "docs"
MADE_BY_THE_BUILD = {"_build", "_templates", "generated", "auto_examples"}
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.rst")
    if MADE_BY_THE_BUILD.isdisjoint(path.relative_to(DOCS).parts)
)


RUN_ELSEWHERE = {
    "../serving/app.py",  # by test_serving_example.py
    "from_surprise.py",  # with the other library, when the page was written
    "from_lenskit.py",
    "from_implicit.py",
    "from_fastai.py",
    "../other_tools/with_duckdb.py",  # the same
    "../other_tools/with_optuna.py",
}


def examples_of(page):
    return doctest.DocTestParser().get_doctest((DOCS / page).read_text(), {}, page, page, 0)


def marks_of(page):
    text, marks = (DOCS / page).read_text(), [pytest.mark.prints]
    if "fetch_movielens(" in text:
        marks.append(pytest.mark.movielens)
    if ">>> import onnxruntime" in text:
        missing = find_spec("onnxruntime") is None
        marks.append(pytest.mark.skipif(missing, reason="needs onnxruntime"))
    return marks


PAGES_WITH_CODE = [
    pytest.param(page, marks=marks_of(page)) for page in PAGES if examples_of(page).examples
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
def test_all_python_code_is_in_doctests(page):
    text = (DOCS / page).read_text()
    for language in re.findall(r"^ *\.\. code(?:-block)?::(.*)$", text, flags=re.MULTILINE):
        assert language.strip() == "console"
    shown = re.findall(r"^ *\.\. literalinclude:: (.*)$", text, flags=re.MULTILINE)
    for path in shown:
        assert path in RUN_ELSEWHERE
    without_directives = re.sub(r"^ *\.\. .*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"::$", without_directives, flags=re.MULTILINE)  # a literal block


def test_code_of_other_libraries_is_shown_completely():
    for path in sorted((DOCS / "coming_from").glob("*.py")):
        page = path.with_name(path.stem.removeprefix("from_") + ".rst").read_text()
        marks = re.findall(r"^# \[\w+\]$", path.read_text(), flags=re.MULTILINE)
        body = re.split(r"^# \[\w+\]$", path.read_text(), flags=re.MULTILINE)[1:]
        for mark, code in zip(marks, body, strict=True):
            compile(code, f"{path.name} {mark}", "exec")
        blocks = re.findall(rf"literalinclude:: {path.name}\n((?: +:.*\n)+)", page)
        after = [re.search(r":start-after: (.*)", block)[1] for block in blocks]
        before = [re.search(r":end-before: (.*)", block) for block in blocks]
        # each part begins where the last one ended
        assert after[0] == marks[0] and set(after) <= set(marks)
        assert [found and found[1] for found in before] == after[1:] + [None]
        version = re.search(r"run with (\S+ \S+) on", path.read_text())[1]
        assert f"With {version}." in page


def test_page_names_the_version_that_code_with_other_tools_was_run_with():
    page = (DOCS / "user_guide" / "other_tools.rst").read_text()
    for path in sorted((DOCS / "other_tools").glob("*.py")):
        version = re.search(r"run with (\S+ \S+) on", path.read_text())[1]
        assert f"Run with {version}" in page


@pytest.mark.parametrize("page", [*PAGES, "../README.md"])
def test_make_targets_exist(page):
    makefile = (DOCS.parent / "Makefile").read_text()
    for target in re.findall(r"\$ make ([\w-]+)", (DOCS / page).read_text()):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_linked_pages_and_pictures_exist(page):
    text, folder = (DOCS / page).read_text(), (DOCS / page).parent
    for target in re.findall(r":doc:`(?:[^`<]*<)?([^`<>]+)>?`", text):
        start = DOCS if target.startswith("/") else folder
        path = start / target.lstrip("/")
        if "auto_examples" in path.parts and path.name != "index":
            path = DOCS / "examples" / path.name
        exists = [path.with_name(path.name + suffix).exists() for suffix in (".rst", ".md", ".py")]
        assert any(exists) or path.name == "index", target
    for target in re.findall(r"(?:figure|image|literalinclude):: (\S+)|:file: (\S+)", text):
        path = folder / "".join(target)
        assert path.exists() or not MADE_BY_THE_BUILD.isdisjoint(path.parts), target


def sentences_of(page):
    """Number of words of each sentence of running text, without code, tables and formulas."""
    text = re.sub(r"^( *)>>> (?:.+\n)+", "", (DOCS / page).read_text(), flags=re.MULTILINE)
    text = re.sub(r"^( *)\.\. .*\n(?:\1 +.*\n|\n)*", "\n", text, flags=re.MULTILINE)  # directives
    text = re.sub(r"^(=+ +)+=+\n(?:.+\n)+", "\n", text, flags=re.MULTILINE)  # tables
    text = re.sub(r"^.*\n(=+|-+|~+)\n", "\n", text, flags=re.MULTILINE)  # titles
    text = re.sub(r":math:`[^`]*`", "Formula", text)
    text = re.sub(r":\w+:`([^`<]+?) *<[^`]*>`", r"\1", text)
    text = re.sub(r"(:\w+:)?``?[^`]+``?", "Name", text)
    text = re.sub(r"\*\*[^*]+[.:]\*\*", "", text)  # first words of an entry
    entries = re.split(r"\n\s*\n|^ *(?:\*|-|#\.|\d\.) ", text, flags=re.MULTILINE)
    parts = [part for entry in entries for part in re.split(r"(?<=[.?!])\s+(?=[A-Z])", entry)]
    return [len(words) for part in parts if (words := re.findall(r"\w[^\s]*", part))]


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("user_guide/")])
def test_sentences_of_the_guide_are_short(page):
    lengths = sorted(sentences_of(page))
    assert lengths[len(lengths) // 2] <= 18
    assert lengths[-1] <= 35


def test_every_page_is_in_a_table_of_contents():
    listed = {"index.rst"}
    for page in PAGES:
        for tree in re.findall(r"\.\. toctree::\n((?: +.*\n|\n)+)", (DOCS / page).read_text()):
            entries = [line.strip() for line in tree.splitlines() if line.strip()]
            for entry in entries:
                if not entry.startswith(":"):
                    path = (DOCS / page).parent / f"{entry}.rst"
                    listed.add(path.relative_to(DOCS).as_posix())
    assert set(PAGES) - {"examples/GALLERY_HEADER.rst"} <= listed


def test_pages_that_the_search_must_find_exist():
    for page in runpy.run_path(str(DOCS / "check_pages.py"))["SEARCHES"].values():
        assert (DOCS / f"{page}.rst").exists(), page


def test_check_of_pages_is_skipped_without_chromium():
    script = DOCS / "check_pages.py"
    found = subprocess.run(
        [sys.executable, script], env={"PATH": ""}, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("skipped: no Chromium found")


def test_every_public_name_is_in_the_api_reference():
    reference = (DOCS / "api.rst").read_text()
    documented = set()
    for section in re.split(r"^\.\. (?:current)?module:: ", reference, flags=re.MULTILINE)[1:]:
        module = section.split(maxsplit=1)[0]
        names = re.findall(r"^   (\w+)$|^\.\. data:: (\w+)$", section, flags=re.MULTILINE)
        documented |= {f"{module}.{''.join(name)}" for name in names}
    modules = [m.name for m in pkgutil.iter_modules(sklrec.__path__) if m.name[0] != "_"]
    public = {
        f"sklrec.{module}.{name}"
        for module in modules
        for name in getattr(importlib.import_module(f"sklrec.{module}"), "__all__", ())
    }
    # a name that the package and a subpackage export is documented in the subpackage
    elsewhere = {path.rpartition(".")[2] for path in public}
    public |= {f"sklrec.{name}" for name in sklrec.__all__ if name not in elsewhere}
    assert documented == public
