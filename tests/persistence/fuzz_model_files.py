"""Loading of altered model files: each is refused or works, and none runs code."""
# SPDX-License-Identifier: BSD-3-Clause

# python tests/persistence/fuzz_model_files.py --examples 3000 --seed 0
#
# An example is a model file with a few changes. Some change bytes of the file. Others change the
# document and the arrays, and correct the checksum. Example n of a seed is always the same;
# `--only n` runs it alone.

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any

import example_models
import numpy as np
import pandas as pd
import safetensors.numpy
import torch

import sklrec
from sklrec._utils import tensor_file as _tensor_file

SECONDS = 5
MEMORY = 2**30
INFINITE = float("inf"), float("nan")
NASTY = [
    *(None, True, False, 0, -1, 1, 2, 10**12, -(10**12), 2**63, 2**64, 10**400, 1.5, -0.5, 1e300),
    *(*INFINITE, 1e-320, "", "a", "\ud800", "cuda", "meta", "os.system", "a" * 999),
    *([], {}, [[]], [0], [[0]], {"dict": [[[], 1]]}, {"tuple": []}, {"float": "x"}, {"bytes": []}),
    *({"optimizer": "Optimizer"}, {"device": "meta"}, ["../../etc/x"]),
    *({"timestamp": [2**70, "ns", "UTC"]}, {"random state": [[0], 0, 0, 0.0]}),
]
NASTY_OF_JSON = [value for value in NASTY if isinstance(value, dict | list)]
NASTY_NUMBERS = [
    *(0, 1, -1, 2, 127, -128, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 1e-45, 1e-30, 1e9, 1e15),
    *(1e30, 3e38, -3e38, 1e300, float("inf"), -float("inf"), float("nan")),
]
DTYPES = ["float32", "float64", "float16", "int64", "int32", "uint8", "bool", "uint64"]
# Events that a load must not cause; it may read files.
FORBIDDEN = {
    *("exec", "compile", "import", "marshal.loads", "pickle.find_class", "ctypes.dlopen"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove"),
    *("os.rename", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *("socket.connect", "socket.bind", "webbrowser.open", "builtins.input"),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_watched: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    if event in FORBIDDEN or (event == "open" and arguments[2] & WRITING):
        _watched.append(f"{event} {arguments[:1]!r:.200}")


@contextmanager
def _watching():
    """Record forbidden events."""
    global _watched
    _watched = found = []
    try:
        yield found
    finally:
        _watched = None


def _too_slow(*_: Any) -> None:
    raise TimeoutError(f"this took more than {SECONDS} s")


class Base:
    """A model file that is altered to make examples."""

    def __init__(self, name: str, folder: str):
        self.name = name
        path = os.path.join(folder, "base")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.estimator, self.X = example_models.BUILDERS[name]()
            sklrec.save(self.estimator, path)
            with open(path, "rb") as file:
                self.content = file.read()
            self.document, self.arrays = _tensor_file.read_tensor_file(path)
            sklrec.load(path)
            self.use(self.estimator)

    def use(self, estimator: Any) -> None:
        """Predict, recommend and transform."""
        for X in (self.X, _unknown(self.X)):
            if hasattr(estimator, "predict"):
                _allow_value_error(estimator.predict, X)
            if hasattr(estimator, "transform"):
                _allow_value_error(estimator.transform, X)
        if hasattr(estimator, "recommend") and isinstance(self.X, pd.DataFrame):
            _allow_value_error(estimator.recommend, [*self.X.iloc[:2, 0], "nobody"], 3)
            _allow_value_error(estimator.similar_items, self.X.iloc[:2, 1], 3)
        _allow_value_error(repr, estimator)


def _unknown(X: Any) -> Any:
    """Rows of users and items that no model knows."""
    if isinstance(X, pd.DataFrame) and "user" in X:
        return X.assign(user=X["user"].iloc[:1].repeat(len(X)).to_numpy()[::-1] * 5, item=-5)
    if isinstance(X, pd.DataFrame | list):
        return X
    return X[::-1] if X.dtype.kind == "U" else np.where(X > 2, X + 1000, X)


def _allow_value_error(compute: Any, *arguments: Any) -> None:
    with suppress(ValueError):
        compute(*arguments)


def altered(bases: list[Base], rng: random.Random) -> tuple[Base, str, bytes]:
    """Make an example: its base, its changes, and the content of its file."""
    base = rng.choice(bases)
    if rng.random() < 0.25:
        how = rng.choice([_flip, _cut, _edit_header])
        return base, how.__name__, how(base.content, rng)
    document = json.loads(json.dumps(base.document))
    arrays = {name: array.copy() for name, array in base.arrays.items()}
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if rng.random() < 0.4:
            done.append(_edit_document(document, rng.choice(bases).document, rng))
        else:
            done.append(_edit_arrays(arrays, rng.choice(bases).arrays, rng))
    text = json.dumps(document)
    return base, ", ".join(done), _file(text, arrays)


def _file(text: str, arrays: dict[str, np.ndarray]) -> bytes:
    """A model file of any document and arrays, with the right checksum."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    digest = _tensor_file._digest(text, arrays)
    metadata = {
        "format": "sklrec model",
        "version": _tensor_file.FORMAT,
        "document": text,
        "sha256": digest,
    }
    return safetensors.numpy.save(arrays, metadata)


def _flip(content: bytes, rng: random.Random) -> bytes:
    altered = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        place = rng.randrange(rng.choice([64, len(altered)]))
        altered[place] ^= 1 << rng.randrange(8)
    return bytes(altered)


def _cut(content: bytes, rng: random.Random) -> bytes:
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return rng.choice([content[:first], content[first:], content[:first] + content[last:]])


def _edit_header(content: bytes, rng: random.Random) -> bytes:
    n = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + n]
    if rng.random() < 0.3:
        n = rng.choice([0, 1, 2**24, 2**31, 2**63, 2**64 - 1, n - 1, n + 1, len(content)])
        return n.to_bytes(8, "little") + content[8:]
    digits = [k for k, c in enumerate(header) if chr(c).isdigit()]
    altered = bytearray(header)
    for _ in range(rng.choice([1, 2, 5])):
        altered[rng.choice(digits)] = ord(rng.choice("0123456789"))
    return content[:8] + bytes(altered) + content[8 + n :]


def _nodes(document: Any) -> list[tuple[Any, Any]]:
    """All places in a document as pairs of a container and a key."""
    found, waiting = [], [document]
    while waiting:
        node = waiting.pop()
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in pairs:
            found.append((node, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    return found


def _edit_document(document: Any, other: Any, rng: random.Random) -> str:
    nodes = _nodes(document)
    if not nodes:
        return "nothing"
    node, key = rng.choice(nodes)
    how = rng.choice(["nasty", "nasty", "nasty", "nudge", "nudge", "drop", "swap", "add"])
    value = node[key]
    if how == "nudge" and isinstance(value, int | float) and not isinstance(value, bool):
        as_float = float(value) if abs(value) < 1e300 else 0.5
        node[key] = rng.choice([value + 1, value - 1, -value, value * 2, as_float, value * 10**9])
    elif how == "nudge" and isinstance(value, list):
        node[key] = rng.choice([value * 2, value[::-1], value[:-1], [*value, None]])
    elif how == "drop":
        del node[key]
    elif how == "swap":
        source, place = rng.choice(_nodes(rng.choice([document, other])))
        node[key] = json.loads(json.dumps(source[place]))
    elif how == "add" and isinstance(node, dict):
        node[rng.choice(["more", "__class__", "net_", key + "_"])] = deepcopy(rng.choice(NASTY))
    else:
        node[key] = deepcopy(rng.choice(NASTY))  # later edits should not change NASTY
    return f"{how} {key!r:.30}"


def _edit_arrays(
    arrays: dict[str, np.ndarray], other: dict[str, np.ndarray], rng: random.Random
) -> str:
    if not arrays:
        return "nothing"
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    if name.endswith(".json") and rng.random() < 0.7:
        try:
            values = json.loads(array.tobytes())
        except ValueError:
            return "nothing"  # an earlier edit broke the JSON
        done = _edit_document(values, NASTY_OF_JSON, rng)
        arrays[name] = np.frombuffer(json.dumps(values).encode("ascii"), np.uint8)
        return f"{done} in {name}"
    often, at_times = ("value", "bits", "shape"), ("fill", "dtype", "drop", "swap", "shuffle")
    how = rng.choice(3 * often + at_times)
    flat = array.reshape(-1).copy()  # some are read-only views
    if how == "bits" and array.size:
        raw = flat.view(np.uint8)
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif how in ("value", "fill") and array.size:
        number = rng.choice([*NASTY_NUMBERS, flat[rng.randrange(len(flat))]])
        some = slice(None) if how == "fill" else rng.randrange(len(flat))
        flat[some] = _cast(np.array(number, np.float64), array.dtype)
    elif how == "shuffle" and array.size:
        flat = flat[rng.sample(range(len(flat)), len(flat))]
    arrays[name] = flat.reshape(array.shape)
    if how == "dtype":
        arrays[name] = _cast(array, rng.choice(DTYPES))
    elif how == "drop":
        del arrays[name]
    elif how == "swap":
        source = rng.choice([source for source in (arrays, other) if source])
        arrays[name] = source[rng.choice(sorted(source))].copy()
    elif how == "shape" and array.ndim:
        axis = rng.randrange(array.ndim)
        shorter = array.take(range(array.shape[axis] - 1), axis=axis)
        changed = [np.repeat(array, 2, axis=axis), shorter, array[..., np.newaxis], flat]
        arrays[name] = rng.choice([*changed, array[:0], np.moveaxis(array, axis, 0)])
    return f"{how} of {name}"


def _cast(array: np.ndarray, dtype: Any) -> np.ndarray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return array.astype(dtype)


def run_one(bases: list[Base], seed: int, number: int, folder: str) -> tuple[str, str | None]:
    """Load one example; return the outcome, and an error report or None."""
    rng = random.Random(f"{seed} {number}")
    base, done, content = altered(bases, rng)
    path = os.path.join(folder, "altered")
    with open(path, "wb") as file:
        file.write(content)
    outcome, wrong = "refused", None
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator = None
            with _watching() as found:
                try:
                    estimator = sklrec.load(path)
                except (ValueError, OSError):
                    pass
            if found:
                wrong = f"loading did {', '.join(found)}"
            if estimator is not None:
                outcome = "opened"
                base.use(estimator)
    except Exception:
        wrong = traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    what = f"example {number} of seed {seed}, {base.name}: {done}"
    return outcome, wrong and f"{what}\n{wrong}"


def run(n_examples: int, seed: int, first: int = 0) -> tuple[Counter, list[str]]:
    """Load examples; return counts of outcomes, and error reports."""
    signal.signal(signal.SIGALRM, _too_slow)
    counts: Counter = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        bases = [Base(name, folder) for name in example_models.BUILDERS]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(first, first + n_examples):
            outcome, wrong = run_one(bases, seed, number, folder)
            counts[outcome] += 1
            if wrong:
                counts["wrong"] += 1
                failures.append(wrong)
        if left := set(os.listdir(folder)) - {"base", "altered"}:
            failures.append(f"loading left files: {left}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > MEMORY:
        failures.append(f"memory grew by {grown / 2**20:.0f} MiB")
    return counts, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000, help="how many files to load")
    parser.add_argument("--seed", type=int, default=0, help="which examples")
    parser.add_argument("--only", type=int, help="the number of the one example to load")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.addaudithook(_audit)  # a hook cannot be removed
    first, n_examples = (0, options.examples) if options.only is None else (options.only, 1)
    counts, failures = run(n_examples, options.seed, first)
    for failure in failures:
        print(failure, end="\n\n")
    print(", ".join(f"{n:,} {outcome}" for outcome, n in sorted(counts.items())))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
