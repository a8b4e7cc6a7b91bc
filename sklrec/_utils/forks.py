"""Locks that a forked process can take, whichever threads held them when it was forked."""
# SPDX-License-Identifier: BSD-3-Clause

import functools
import os
from collections.abc import Callable
from threading import Lock, RLock
from typing import Any, TypeVar

Value = TypeVar("Value")

# A fork waits this long for a lock. A thread holds one for far less time, unless it is the thread
# that forks, in a signal handler.
SECONDS = 1.0


class ForkLock:
    """A lock that a fork takes first, so that what it guards is complete in the child."""

    def __init__(self, in_child: Callable[[], Any] = lambda: None):
        # Use `with fork_lock.lock`: Ctrl-C in an `__enter__` in Python could leave it locked.
        self.lock, self._is_taken, self._in_child = Lock(), False, in_child
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._take, after_in_parent=self._release, after_in_child=self._renew
            )

    def _take(self) -> None:
        self._is_taken = self.lock.acquire(timeout=SECONDS)

    def _release(self) -> None:
        if self._is_taken:
            self.lock.release()

    def _renew(self) -> None:
        self.lock = Lock()
        self._in_child()


class cached_property(functools.cached_property[Value]):
    """The property of `functools`, which has a lock until Python 3.11."""

    def __init__(self, function: Callable[[Any], Value]):
        super().__init__(function)
        if hasattr(self, "lock") and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: setattr(self, "lock", RLock()))
