"""Strings as bytes and lengths."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable

import numpy as np

from sklrec._persistence.parts import ANY, PartReader, PartWriter

# So that halves of surrogate pairs, which Python's strings may hold, come back too.
LONE_SURROGATES = "surrogatepass"


def write_strings(part: PartWriter, strings: Iterable[str]) -> None:
    """Write strings in UTF-8.

    Parameters
    ----------
    part : PartWriter
        Where to.
    strings : iterable of str
        The strings.
    """
    encoded = [string.encode("utf-8", LONE_SURROGATES) for string in strings]
    part.array("utf8", np.frombuffer(b"".join(encoded), np.uint8))
    part.array("n_bytes", np.fromiter(map(len, encoded), np.int64, len(encoded)))


def read_strings(part: PartReader) -> list[str]:
    """Read what `write_strings` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.

    Returns
    -------
    list of str
        The strings.
    """
    utf8 = part.array("utf8", "uint8", (ANY,))
    n_bytes = part.array("n_bytes", "int64", (ANY,))
    # The limit keeps the sum from running over.
    if len(n_bytes) and not (0 <= n_bytes.min() and n_bytes.max() <= len(utf8)):
        part.refuse("n_bytes", f"should hold lengths from 0 to {len(utf8)}")
    if sum(n_bytes.tolist()) != len(utf8):
        part.refuse("n_bytes", f"should add up to {len(utf8)}")
    ends = np.cumsum(n_bytes).tolist()
    content = utf8.tobytes()
    return [
        content[end - n : end].decode("utf-8", LONE_SURROGATES)
        for end, n in zip(ends, n_bytes.tolist(), strict=True)
    ]
