"""Imports of optional dependencies."""
# SPDX-License-Identifier: BSD-3-Clause

from importlib import import_module
from typing import Any


def import_extra(module: str, extra: str, caller: str) -> Any:
    """Import a module that an extra of this package installs."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{caller} requires {module.partition('.')[0]}. Install it with: "
            f"pip install 'sklrec[{extra}]'"
        ) from error
