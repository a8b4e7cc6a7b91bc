"""Sizes of files and classes, overridden methods, and the files that each kind of fit enters."""
# SPDX-License-Identifier: BSD-3-Clause

# Run it with ``python -m benchmarks.structure``. tests/test_package.py checks the limits.

import ast
import importlib
import inspect
import io
import pkgutil
import sys
import tokenize
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sklrec
from sklrec.datasets import make_ratings

PACKAGE = Path(sklrec.__file__).parent
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
NO_CODE |= {tokenize.ENDMARKER}
DOCUMENTED = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


def code_lines(path: Path) -> int:
    """Count the lines of a file without blank lines, comments and docstrings."""
    source = path.read_text()
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            text = node.body[0]
            documented.update(range(text.lineno, (text.end_lineno or 0) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)


def classes() -> set[type]:
    """Find all classes that the package defines."""
    found: set[type] = set()
    for module in pkgutil.walk_packages(sklrec.__path__, "sklrec."):
        for value in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__.startswith("sklrec"):
                found.add(value)
    return found


def methods(cls: type) -> set[str]:
    """Names of the methods and properties that a class itself defines."""
    kinds = property | classmethod | staticmethod
    return {
        name
        for name, value in vars(cls).items()
        if isinstance(value, kinds) or inspect.isfunction(getattr(value, "method", value))
    }


def all_methods(cls: type) -> set[str]:
    """Names of all methods and properties that the package defines for a class."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("sklrec")]
    return set().union(*map(methods, own))


def overridden_once(base: type) -> Iterator[str]:
    """Yield the methods of a base class that exactly one class overrides."""
    others = [cls for cls in classes() if base in cls.__mro__ and cls is not base]
    for name in sorted(methods(base)):
        if not name.startswith("__") and sum(name in methods(cls) for cls in others) == 1:
            yield name


def entered(call: Callable[[], Any]) -> set[str]:
    """Files of the package with a function that runs during a call."""
    found: set[str] = set()
    start = f"{PACKAGE}/"

    def profile(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(start) and code.co_name != "<module>":
            found.add(code.co_filename.removeprefix(start))

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def fits() -> dict[str, Callable[[], Any]]:
    """Fits of each kind, by name."""
    X, y = make_ratings(100, 50, 2000, random_state=0)
    pairs = X[["user", "item"]]
    side = X.assign(genres=[["a", "b"] if item % 3 else ["c"] for item in X["item"]])
    bayesian = {"side_features": "all", "svdpp": True, "loss": "ordinal"}
    return {
        "BiasRegressor": lambda: sklrec.BiasRegressor().fit(pairs, y),
        "MFRegressor": lambda: sklrec.MFRegressor(max_epochs=1).fit(pairs, y),
        "MFRegressor, SVD++": lambda: sklrec.MFRegressor(max_epochs=1, svdpp=True).fit(pairs, y),
        "DenseRecRegressor": lambda: sklrec.DenseRecRegressor(max_epochs=1).fit(side, y),
        "BayesianMFRegressor": lambda: sklrec.BayesianMFRegressor(n_iter=1).fit(pairs, y),
        "BayesianMFRegressor, side features": lambda: sklrec.BayesianMFRegressor(
            n_iter=1, side_features="all"
        ).fit(side, y),
        "BayesianMFRegressor, all": lambda: sklrec.BayesianMFRegressor(n_iter=1, **bayesian).fit(
            side, y.round()
        ),
        "SequenceRatingRegressor": lambda: sklrec.SequenceRatingRegressor(max_epochs=1).fit(X, y),
        "SequenceRatingRegressor, alpha=1": lambda: sklrec.SequenceRatingRegressor(
            max_epochs=1, alpha=1.0
        ).fit(X, y),
    }


def main() -> None:
    """Print all figures."""
    lines = {path.relative_to(PACKAGE): code_lines(path) for path in PACKAGE.rglob("*.py")}
    print(f"{sum(lines.values()):,} lines of code")
    for path in sorted(lines, key=lines.__getitem__, reverse=True)[:5]:
        print(f"{lines[path]:6} {path}")
    found = sorted(classes(), key=lambda cls: len(all_methods(cls)), reverse=True)
    print("Methods of the largest classes, with inherited ones:")
    for cls in found[:5]:
        print(f"{len(all_methods(cls)):6} {cls.__name__}")
    print("Methods that exactly one class overrides:")
    for cls in sorted(found, key=lambda cls: cls.__name__):
        if names := list(overridden_once(cls)):
            print(f"{len(names):6} {cls.__name__}: {', '.join(names)}")
    print("Files that a fit enters:")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, fit in fits().items():
            print(f"{len(entered(fit)):6} {name}")


if __name__ == "__main__":
    main()
