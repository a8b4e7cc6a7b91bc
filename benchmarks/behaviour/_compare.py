"""Differences between the results of two checkouts."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np

from benchmarks.behaviour._case import Case


def difference(old: np.ndarray, new: np.ndarray, tolerance: float = 0.0) -> float | str:
    """Largest absolute difference, or words for another one; 0 if there is none."""
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"{old.dtype}{list(old.shape)} became {new.dtype}{list(new.shape)}"
    if old.dtype.kind == "O":
        changed = [repr(a) != repr(b) for a, b in zip(old.ravel(), new.ravel(), strict=True)]
        return f"{sum(changed)} of {len(changed)} values changed" if any(changed) else 0.0
    if np.array_equal(old, new, equal_nan=old.dtype.kind in "fcmM"):
        return 0.0
    if old.dtype.kind != "f" and not tolerance:  # a distance between IDs means nothing
        return f"{np.count_nonzero(old != new)} of {old.size} values changed"
    if not np.array_equal(np.isfinite(old), np.isfinite(new)):
        return "other values are missing or infinite"
    largest = float(np.nanmax(np.abs(old.astype(float) - new.astype(float))))
    return largest if largest > tolerance else 0.0


def verdict(of_case: Case, old: Any, new: Any) -> tuple[bool, str]:
    """Whether a case is as declared, and the words of its row."""
    errors = {
        side: found for side, found in (("OLD", old), ("NEW", new)) if isinstance(found, str)
    }
    if errors:
        return False, "; ".join(f"error in {side}: {text}" for side, text in errors.items())
    found = {
        place: difference(old[place], new[place], of_case.tolerance)
        for place in old.keys() & new.keys()
    }
    found |= dict.fromkeys(old.keys() - new.keys(), "only in OLD")
    found |= dict.fromkeys(new.keys() - old.keys(), "only in NEW")
    differing = {place: what for place, what in sorted(found.items()) if what != 0}
    about = f" (means; {of_case.differs})" if of_case.differs else ""
    if not differing:
        return True, (f"within {of_case.tolerance}" if about else "equal") + about
    words = []
    if numbers := {place: what for place, what in differing.items() if not isinstance(what, str)}:
        place = max(numbers, key=numbers.__getitem__)
        words.append(f"differs by {numbers[place]:.3g} in {place}")
    if others := [f"{what} in {p}" for p, what in differing.items() if isinstance(what, str)]:
        words.append(others[0])
    words.append(f"{len(differing)} of {len(found)} arrays differ{about}")
    return False, "; ".join(words)
