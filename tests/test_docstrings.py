"""The docstrings: complete, in numpydoc's form, and true where that can be checked."""
# SPDX-License-Identifier: BSD-3-Clause

import ast
import importlib
import inspect
import pkgutil
import re

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import ERROR_MSGS, validate

import sklrec

IGNORED = {
    "ES01": "a summary often says it all",
    "EX01": "examples stand with the class, not with each of its methods",
    "SA01": "See Also stands where there is something to see",
}


def public_modules():
    """Every module of the package whose path has no underscore."""
    found = pkgutil.walk_packages(sklrec.__path__, "sklrec.")
    names = [module.name for module in found if "._" not in module.name]
    return [sklrec, *map(importlib.import_module, names)]


def public_names(module):
    """What a module is there for: its __all__, or what it defines under a public name."""
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
                continue  # a scorer, documented where it is made
            found.setdefault(value, f"{module.__name__}.{name}")
            if inspect.isclass(value):
                for member, function in members(value):
                    found.setdefault(function, f"{found[value]}.{member}")
    return {path: value for value, path in found.items()}


OBJECTS = public_objects()


def test_the_usual_suspects_are_among_them():
    assert {
        "sklrec.MFRegressor",
        "sklrec.BayesianFMRegressor.fit",
        "sklrec.BayesianFMRegressor.recommend",
        "sklrec.BayesianFMRegressor.global_mean_",
        "sklrec.IDEncoder.transform",
        "sklrec.SequencePadder.transform",
        "sklrec.SequenceWindower.transform",
        "sklrec.datasets.fetch_movielens",
        "sklrec.datasets.make_ratings",
        "sklrec.metrics.masked_root_mean_squared_error",
        "sklrec.model_selection.ColdItemKFold.split",  # that of all splitters
        "sklrec.modules.MatrixFactorization.forward",
    } <= set(OBJECTS)


def test_what_is_ignored_exists():
    assert set(IGNORED) <= set(ERROR_MSGS)


@pytest.mark.parametrize("path", OBJECTS)
def test_docstrings_are_in_order(path):
    errors = validate(path)["errors"]
    assert [error for error in errors if error[0] not in IGNORED] == []


@pytest.mark.parametrize("path", OBJECTS)
def test_documented_defaults_are_those_of_the_signature(path):
    value = OBJECTS[path]
    sections = NumpyDocString(inspect.getdoc(value))
    documented = {}
    for parameter in sections["Parameters"]:
        # "y : None" says that None is the one value it takes
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
