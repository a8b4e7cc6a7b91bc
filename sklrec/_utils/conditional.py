"""Methods that only some instances of a class have."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def missing_if(reason: Callable[[Any], str | None]) -> Callable[[Method], Method]:
    """Decorate a method that an estimator lacks if a function gives a reason."""

    # Type checkers see the method itself.
    def decorate(method: Method) -> Any:
        return _MissingIf(method, reason)

    return decorate


class _MissingIf:
    # Unlike available_if of scikit-learn, the error is the reason.

    def __init__(self, method: Callable[..., Any], reason: Callable[[Any], str | None]):
        self.method, self.reason = method, reason
        update_wrapper(self, method)  # type: ignore[arg-type]

    def __get__(self, estimator: Any, owner: Any = None) -> Any:
        if estimator is None:
            return self.method
        if (reason := self.reason(estimator)) is not None:
            raise AttributeError(reason)
        return MethodType(self.method, estimator)
