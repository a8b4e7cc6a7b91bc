"""The package as a whole: what it imports, what it exports, and which way its imports run."""
# SPDX-License-Identifier: BSD-3-Clause

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
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
        "_packing",
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
    ["approximate", "inspection", "persistence", "__init__"],
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


def test_types_are_shipped():
    assert (PACKAGE / "py.typed").is_file()
    assert "py.typed" in (ROOT / "setup.cfg").read_text()


def test_every_file_opens_with_its_purpose_and_licence():
    for path in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]):
        first, second, *_ = path.read_text().splitlines()
        assert first.startswith('"""'), path
        assert first.endswith('."""'), path
        assert second == "# SPDX-License-Identifier: BSD-3-Clause", path
