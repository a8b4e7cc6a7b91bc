"""Warnings that show the line of the user's code."""
# SPDX-License-Identifier: BSD-3-Clause

import sys
import warnings

# Packages whose code is between the user's code and a warning: sklrec itself, decorators of fit,
# callbacks and training loops, workers of searches, context managers.
SKIPPED = ("sklrec", "sklearn", "skorch", "joblib", "torch", "pandas", "contextlib", "threading")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and show the first line outside of this package and the libraries that call it."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_skipped(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_skipped(module: str) -> bool:
    return module.split(".")[0] in SKIPPED
