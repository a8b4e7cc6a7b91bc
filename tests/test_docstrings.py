"""Docstrings: complete numpydoc for public names, one sentence for private ones."""
# SPDX-License-Identifier: BSD-3-Clause

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import ERROR_MSGS, validate
from skorch.callbacks import Callback

import sklrec

IGNORED = {
    "ES01": "a summary is often enough",
    "EX01": "classes have examples, their methods need none",
    "SA01": "not every function has a related one",
}


def public_modules():
    """Every module of the package whose path has no underscore."""
    found = pkgutil.walk_packages(sklrec.__path__, "sklrec.")
    names = [module.name for module in found if "._" not in module.name]
    return [sklrec, *map(importlib.import_module, names)]


def public_names(module):
    """Names in the __all__ of a module, or public names that it defines."""
    if hasattr(module, "__all__"):
        return module.__all__
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


def members(cls):
    """Public methods and properties that the package defines for a class."""
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        function = value.fget if isinstance(value, property) else value
        function = getattr(function, "__wrapped__", function)  # of a method that may be missing
        if issubclass(cls, Callback) and hasattr(Callback, name):
            continue  # skorch documents these methods
        if inspect.isfunction(function) and not name.startswith("_"):
            if inspect.unwrap(function).__module__.startswith("sklrec"):
                yield name, function


def public_objects():
    """Each public object by the name that users import it under."""
    found = {}
    for module in public_modules():
        for name in public_names(module):
            value = getattr(module, name)
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue  # a scorer: the function that makes it is documented
            found.setdefault(value, f"{module.__name__}.{name}")
            if inspect.isclass(value):
                for member, function in members(value):
                    found.setdefault(function, f"{found[value]}.{member}")
    return {path: value for value, path in found.items()}


OBJECTS = public_objects()


def test_well_known_names_are_checked():
    assert {
        "sklrec.MFRegressor",
        "sklrec.BayesianMFRegressor.global_mean_",
        "sklrec.SequencePadder.transform",
        "sklrec.metrics.masked_root_mean_squared_error",
        "sklrec.model_selection.ColdItemKFold.split",  # inherited by all splitters
        "sklrec.modules.DenseNet.forward",
    } <= set(OBJECTS)


def test_ignored_checks_exist():
    assert set(IGNORED) <= set(ERROR_MSGS)


@pytest.mark.parametrize("path", OBJECTS)
def test_public_docstrings_follow_numpydoc(path):
    errors = validate(path)["errors"]
    assert [error for error in errors if error[0] not in IGNORED] == []


@pytest.mark.parametrize("path", OBJECTS)
def test_documented_defaults_equal_those_of_the_signature(path):
    value = OBJECTS[path]
    sections = NumpyDocString(inspect.getdoc(value))
    documented = {}
    for parameter in sections["Parameters"]:
        # "y : None" means that None is the only value.
        found = re.search(r"default=(.+)$|^(None)$", parameter.type)
        default = ast.literal_eval(found[1] or found[2]) if found else inspect.Parameter.empty
        documented[parameter.name.lstrip("*")] = (default, type(default))
    wanted = {
        name: (parameter.default, type(parameter.default))
        for name, parameter in inspect.signature(value).parameters.items()
        if name not in ("self", "cls")
    }
    assert documented == wanted
    assert list(documented) == list(wanted)


def docstrings(tree, prefix=""):
    """Docstrings of all classes and functions of a module, by qualified name."""
    for node in ast.iter_child_nodes(tree):
        inner = prefix
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, ast.get_docstring(node) or ""
            is_class = isinstance(node, ast.ClassDef)
            inner = f"{prefix}{node.name}." + ("" if is_class else "<locals>.")
        yield from docstrings(node, inner)


def test_private_docstrings_have_no_sections():
    public = set()
    for value in map(inspect.unwrap, OBJECTS.values()):
        public.add((value.__module__, value.__qualname__))
    root = Path(sklrec.__file__).parent
    offenders = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(["sklrec", *parts])
        for name, text in docstrings(ast.parse(path.read_text())):
            has_section = re.search(r"^\s*-{3,}$", text, re.MULTILINE)
            owner, _, last = name.rpartition(".")
            is_public = (module, name) in public
            is_public |= (module, owner) in public and not last.startswith("_")
            if has_section and not is_public:
                offenders.append(f"{module}.{name}")
    assert not offenders, "one sentence is enough for: " + ", ".join(offenders)
