"""The package as a whole: layers of imports, exported names, metadata and the wheel."""
# SPDX-License-Identifier: BSD-3-Clause

import ast
import graphlib
import importlib.metadata
import itertools
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import sklrec
import sklrec.inspection
import sklrec.metrics
import sklrec.model_selection
from benchmarks import structure
from sklrec._core.base import BaseRatingRegressor

PACKAGE = structure.PACKAGE
ROOT = PACKAGE.parent

# Layers, the lowest first. A module imports from lower layers and from its own package only.
LAYERS = [
    ["_utils"],
    ["_data"],
    ["modules", "preprocessing", "model_selection", "datasets"],
    ["_solvers", "metrics"],
    ["_core"],
    ["estimators"],
    ["_persistence", "export", "inspection", "approximate"],
    ["__init__"],
]
LAYER_OF = {place: height for height, layer in enumerate(LAYERS) for place in layer}


def imports_of(path):
    """Modules of the package that a file imports, as parts of their names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            root, *parts = name.split(".")
            if root == "sklrec":
                yield parts


def place_of(path):
    """Package or module at the top level of sklrec that holds a file."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_every_module_has_a_layer():
    assert {place_of(path) for path in PACKAGE.rglob("*.py")} == LAYER_OF.keys()


def test_modules_import_from_lower_layers_only():
    offenders = [
        f"{path.relative_to(PACKAGE)} imports {'.'.join(imported)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for imported in imports_of(path)
        if imported[0] != place_of(path) and LAYER_OF[imported[0]] >= LAYER_OF[place_of(path)]
    ]
    assert not offenders


def test_imports_have_no_circle():
    imports = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name == "__init__.py":
            continue  # re-exports
        imports[path] = set()
        for imported in imports_of(path):
            for length in range(len(imported), 0, -1):
                target = PACKAGE.joinpath(*imported[:length]).with_suffix(".py")
                if target.exists():
                    imports[path].add(target)
                    break
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError


def test_files_and_classes_are_small():
    for path in PACKAGE.rglob("*.py"):
        assert structure.code_lines(path) <= (250 if place_of(path) == "estimators" else 300), path
    for cls in structure.classes():
        assert len(structure.all_methods(cls)) <= 45, cls


def test_no_method_of_the_base_class_is_overridden_once():
    assert list(structure.overridden_once(BaseRatingRegressor)) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "fit"), structure.fits().items())
def test_a_fit_enters_few_files(name, fit):
    limits = {"BiasRegressor": 23, "BayesianMFRegressor, all": 31, "SequenceRatingRegressor": 42}
    limits["SequenceRatingRegressor, alpha=1"] = 32
    assert len(structure.entered(fit)) <= limits.get(name, 30)


@pytest.mark.parametrize(
    ("package", "banned"),
    [
        ("_data", ["torch", "skorch"]),
        ("preprocessing", ["torch", "skorch"]),
        ("model_selection", ["torch", "skorch"]),
        ("metrics", ["torch", "skorch"]),
        ("modules", ["sklearn", "pandas", "skorch", "scipy"]),
        ("_solvers/least_squares", ["sklearn", "pandas", "skorch"]),
        ("_core", ["skorch"]),
        ("estimators", ["skorch"]),
    ],
)
def test_a_package_imports_only_the_libraries_that_it_needs(package, banned):
    for path in (PACKAGE / package).rglob("*.py"):
        roots = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots.add(node.module.split(".")[0])
        assert not roots & set(banned), path


def test_one_module_imports_private_names_of_scikit_learn():
    offenders = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            if any(name.startswith("sklearn.") and "._" in name for name in names):
                offenders.add(path.relative_to(PACKAGE).as_posix())
    assert offenders <= {"_utils/versions.py"}


def test_an_import_and_fits_do_not_load_slow_packages():
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import sklrec, sklrec.datasets, sklrec.modules, sklrec.preprocessing\n"
        "import sklrec.inspection, sklrec.metrics, sklrec.model_selection\n"
        "X, y = [[k, k] for k in range(10)], range(10)\n"
        "models = sklrec.MFRegressor(2), sklrec.DenseRecRegressor(2, batch_size=1)\n"
        "assert all(model.fit(X, y).module_.sparse for model in models)\n"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.split())
    assert {"sklrec", "torch", "skorch", "sklearn"} <= imported
    # skorch imports tqdm itself, but not its bars for notebooks.
    slow = {"matplotlib", "torch._dynamo", "tqdm.auto", "tqdm.notebook", "IPython"}
    assert not imported & slow


def test_exported_names_exist_and_are_sorted():
    names = ["datasets", "inspection", "metrics", "model_selection", "preprocessing"]
    for module in (sklrec, *(getattr(sklrec, name) for name in names)):
        assert list(module.__all__) == sorted(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)


def test_the_version_equals_that_of_the_metadata():
    assert sklrec.__version__ == project()["version"]
    try:
        installed = importlib.metadata.version("sklrec")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("sklrec is imported from its folder, not installed")
    assert sklrec.__version__ == installed


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_oldest_versions_equal_those_of_the_metadata():
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = project()["optional-dependencies"]
    del extras["docs"]  # built with the newest versions only
    floors: dict[str, list[str]] = {}
    for requirement in [*project()["dependencies"], *itertools.chain(*extras.values())]:
        name, floor = requirement.split(">=")  # all have a floor, and no ceiling
        floors.setdefault(name.partition("[")[0], []).append(floor)
    assert pinned.keys() == floors.keys()
    for name, of_extras in floors.items():
        assert f"{pinned[name]}.".startswith(f"{min(of_extras, key=Version)}."), name


def test_the_newest_versions_are_all_pinned_and_no_older_than_the_floors():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    extras = project()["optional-dependencies"]
    del extras["integrations"]  # has an environment of its own
    requirements = [*project()["dependencies"], *itertools.chain(*extras.values())]
    for requirement in map(Requirement, requirements):
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), requirement


def test_the_wheel_holds_only_the_package(tmp_path):
    try:  # not imported here, because older versions fail if distutils is already imported
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    if int(version.split(".")[0]) < 77:
        pytest.skip("setuptools 77 or newer is not installed")
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source / "sklrec", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tests", "benchmarks", "docs"):
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    subprocess.run(
        [sys.executable, "-c", "from setuptools.build_meta import *; build_wheel('..')"],
        cwd=source,
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".typed")]
    assert names == {path.relative_to(ROOT).as_posix() for path in files}


def test_every_file_starts_with_its_purpose_and_licence():
    for path in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]):
        first, second, *_ = path.read_text().splitlines()
        assert first.startswith('"""'), path
        assert first.endswith('."""'), path
        assert second == "# SPDX-License-Identifier: BSD-3-Clause", path
