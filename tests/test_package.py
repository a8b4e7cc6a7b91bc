"""The package as a whole: what it imports, what it exports, and which way its imports run."""
# SPDX-License-Identifier: BSD-3-Clause

import ast
import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import sklrec
import sklrec.inspection
import sklrec.metrics
import sklrec.model_selection

PACKAGE = Path(sklrec.__file__).parent
ROOT = PACKAGE.parent

# A module imports from lower floors only; within a floor from those before it.
FLOORS = [
    [
        "_devices",
        "modules",
        "_callbacks",
        "_sklearn_callbacks",
        "_memory",
        "_random",
        "_rowwise_optimizer",
        "_rowwise_adam",
        "_rowwise_sgd",
        "_tensor_file",
        "_threads",
        "_version",
        "_validation",
        "_vocabulary",
        "_timestamps",
        "_codes",
        "_histories",
        "_normal_equations",
        "_shared_terms",
        "preprocessing",
        "model_selection",
        "metrics",
        "datasets",
    ],
    [
        "_training_data",
        "_checkpoints",
        "_net",
        "_pair_batches",
        "_distributed",
        "_stored_interactions",
        "_side_columns",
        "_side_features",
        "_side_blocks",
        "_known_features",
        "_padded_sequences",
        "_sequence_tensors",
    ],
    ["_solvers"],
    ["_recommend", "_base", "_minibatch_base", "_fit_chunks"],
    ["matrix_factorization", "bayesian_fm", "dense", "sequence"],
    ["approximate", "export", "inspection", "persistence", "__init__"],
]


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


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_every_module_has_a_floor():
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")}
    assert rooms == {room for floor in FLOORS for room in floor}


def test_imports_run_only_downwards():
    position = {
        room: (height, place)
        for height, floor in enumerate(FLOORS)
        for place, room in enumerate(floor)
    }
    offenders = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = room_of(path)
        for imported in imports_of(path):
            if imported[0] == room and (PACKAGE / room).is_dir():
                continue  # a package of its own
            if position[imported[0]] >= position[room]:
                offenders.append(f"{room} imports {imported[0]}")
    assert not offenders


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("modules", ["sklearn", "numpy", "pandas", "skorch", "scipy"]),
        ("_rowwise_adam", ["sklearn", "numpy", "pandas", "skorch", "scipy"]),
        ("_rowwise_sgd", ["sklearn", "numpy", "pandas", "skorch", "scipy"]),
        ("preprocessing", ["torch", "skorch"]),
        ("model_selection", ["torch", "skorch"]),
        ("metrics", ["torch", "skorch"]),
        ("_timestamps", ["torch", "skorch"]),
        ("_vocabulary", ["torch", "skorch"]),
        ("_validation", ["torch", "skorch"]),
        ("_histories", ["torch", "skorch"]),
        ("_normal_equations", ["sklearn", "pandas", "skorch"]),
        ("_shared_terms", ["sklearn", "pandas", "skorch"]),
        ("_padded_sequences", ["torch", "skorch"]),
        ("_recommend", ["skorch"]),
        ("matrix_factorization", ["skorch"]),
        ("sequence", ["skorch"]),
    ],
)
def test_a_room_knows_only_its_own_trade(module, banned):
    room = PACKAGE / module
    for path in room.glob("*.py") if room.is_dir() else [room.with_suffix(".py")]:
        roots = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots.add(node.module.split(".")[0])
        assert not roots & set(banned), path


def test_importing_it_imports_nothing_slow():
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import sklrec, sklrec.datasets, sklrec.modules, sklrec.preprocessing\n"
        "import sklrec.inspection, sklrec.metrics, sklrec.model_selection\n"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    imported = set(done.stdout.split())
    assert {"sklrec", "torch", "skorch", "sklearn"} <= imported
    # tqdm itself comes with skorch; its bars for notebooks do not
    slow = {"matplotlib", "torch._dynamo", "tqdm.auto", "tqdm.notebook", "IPython"}
    assert not imported & slow


def test_what_is_exported_is_there_and_sorted():
    names = ["datasets", "inspection", "metrics", "model_selection", "preprocessing"]
    for module in (sklrec, *(getattr(sklrec, name) for name in names)):
        assert list(module.__all__) == sorted(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)


def test_the_version_is_that_of_the_metadata():
    assert sklrec.__version__ == project()["version"]
    try:
        installed = importlib.metadata.version("sklrec")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("sklrec is imported from its folder, not installed")
    assert sklrec.__version__ == installed


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_oldest_versions_are_those_of_the_metadata():
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    floors = dict(requirement.split(">=") for requirement in project()["dependencies"])
    assert pinned.keys() == floors.keys()
    for name, floor in floors.items():
        assert f"{pinned[name]}.".startswith(f"{floor}."), name


def test_the_wheel_holds_the_package_alone(tmp_path):
    try:  # not imported here: older ones quarrel with a distutils that is there already
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    if int(version.split(".")[0]) < 77:
        pytest.skip("setuptools, of 77 or newer, is not installed")
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
        timeout=120,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    of_package = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".typed")]
    assert names == {path.relative_to(ROOT).as_posix() for path in of_package}


def test_types_are_shipped():
    assert (PACKAGE / "py.typed").is_file()
    assert "py.typed" in (ROOT / "setup.cfg").read_text()


def test_every_file_opens_with_its_purpose_and_licence():
    for path in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]):
        first, second, *_ = path.read_text().splitlines()
        assert first.startswith('"""'), path
        assert first.endswith('."""'), path
        assert second == "# SPDX-License-Identifier: BSD-3-Clause", path
