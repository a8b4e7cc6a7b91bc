"""Altered model files: each is refused or works, and none runs code."""
# SPDX-License-Identifier: BSD-3-Clause

# python tests/persistence/fuzz_model_files.py --examples 3000 --seed 0
#
# An example is a model file with a few changes. Some change bytes of the file, or the dtypes,
# shapes and places in its header. Others change the document and the arrays, and correct the
# checksum. Example n of a seed is always the same; `--only n` runs it alone.

import argparse
import encodings.utf_8_sig  # noqa: F401  # Python imports it when a file that may be a text is read
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

import example_models
import numpy as np
import pandas as pd
import safetensors.numpy
import torch
from sklearn.utils import check_random_state

import sklrec
from sklrec._utils import tensor_file as _tensor_file

SECONDS = 5  # for one example
MEMORY = 2**30
VALUES = [
    *(None, True, False, 0, -1, 1, 2, 10**12, -(10**12), 2**63, 2**64, 10**400, 1.5, -0.5, 1e300),
    *(float("inf"), float("nan"), 1e-320, "", "a", "\ud800", "cuda", "meta", "os.system"),
    *("a" * 999, [], {}, [[]], [0], [[0]], {"dict": [[[], 1]]}, {"tuple": []}, {"float": "x"}),
    *({"bytes": []}, {"optimizer": "Optimizer"}, {"device": "meta"}, ["../../etc/x"]),
    *({"timestamp": [2**70, "ns", "UTC"]}, {"random state": [[0], 0, 0, 0.0]}),
]
CONTAINERS = [value for value in VALUES if isinstance(value, dict | list)]
NUMBERS = [
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

_events = None


def _audit(event, arguments):
    if _events is not None and (
        event in FORBIDDEN or (event == "open" and arguments[2] & WRITING)
    ):
        _events.append(f"{event} {arguments[:1]!r:.200}")


@contextmanager
def _watching():
    """Record forbidden events."""
    global _events
    _events = found = []
    try:
        yield found
    finally:
        _events = None


def _too_slow(*_):
    raise TimeoutError(f"this took more than {SECONDS} s")


class Base:
    """A model file that is altered to make examples."""

    def __init__(self, name, folder):
        self.name = name
        path = os.path.join(folder, "base")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.estimator, self.X = example_models.BUILDERS[name]()
            sklrec.save(self.estimator, path)
            with open(path, "rb") as file:
                self.content = file.read()
            self.document, self.arrays = _tensor_file.read_tensor_file(path)
            self.use(sklrec.load(path))

    def use(self, estimator):
        """Predict, recommend and transform."""
        calls = [(name, self.X) for name in ("predict", "decision_function", "transform")]
        if isinstance(self.X, pd.DataFrame):
            calls += [("predict", self.X.assign(item=-5))] * ("item" in self.X)
            calls += [("recommend", [*self.X.iloc[:2, 0], "unknown"])]
            calls += [("similar_items", self.X.iloc[:2, 1])]
        for name, X in calls:
            if hasattr(estimator, name):
                # A matrix may have become singular.
                with suppress(ValueError, torch.linalg.LinAlgError):
                    getattr(estimator, name)(X)
        if hasattr(estimator, "random_state"):
            check_random_state(estimator.random_state).random_sample(3)
        with suppress(ValueError):
            repr(estimator)


def alter(bases, rng):
    """Make an example: its base, its changes, and the content of its file."""
    base = rng.choice(bases)
    if rng.random() < 0.25:
        return base, *_alter_bytes(base.content, rng)
    document = json.loads(json.dumps(base.document))
    arrays = {name: array.copy() for name, array in base.arrays.items()}
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if rng.random() < 0.4:
            done.append(_edit_document(document, rng.choice(bases).document, rng))
        elif arrays:
            done.append(_edit_arrays(arrays, rng.choice(bases).arrays, rng))
    text = json.dumps(document)
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {
        "format": "sklrec model",
        "version": _tensor_file.FORMAT,
        "document": text,
        "sha256": _tensor_file._digest(text, arrays),
    }
    return base, ", ".join(done), safetensors.numpy.save(arrays, metadata)


def _alter_bytes(content, rng):
    how = rng.choice(["flip", "cut", "length", "header", "header"])
    altered = bytearray(content)
    if how == "flip":
        for _ in range(rng.choice([1, 1, 2, 8, 64])):
            place = rng.randrange(rng.choice([64, len(altered)]))
            altered[place] ^= 1 << rng.randrange(8)
    elif how == "cut":
        first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        altered = rng.choice([content[:first], content[first:], content[:first] + content[last:]])
    elif how == "header":
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        place = rng.choice([header, *header.values()])
        done = _edit_document(place, {name: header[name] for name in list(header)[:1]}, rng)
        text = json.dumps(header).encode()
        return f"{done} in the header", len(text).to_bytes(8, "little") + text + content[end:]
    else:
        n = rng.choice([0, 1, 2**24, 2**31, 2**63, 2**64 - 1, len(content)])
        altered[:8] = n.to_bytes(8, "little")
    return how, bytes(altered)


def _nodes(document):
    """All places in a document as pairs of a container and a key."""
    found, waiting = [], [document]
    while waiting:
        node = waiting.pop()
        pairs = list(node.items() if isinstance(node, dict) else enumerate(node))
        found += [(node, key) for key, _ in pairs]
        waiting += [value for _, value in pairs if isinstance(value, dict | list)]
    return found


def _edit_document(document, other, rng):
    nodes = _nodes(document)
    if not nodes:
        return "nothing"
    node, key = rng.choice(nodes)
    how = rng.choice(["replace"] * 3 + ["nudge", "nudge", "drop", "swap", "add"])
    value = node[key]
    if how == "nudge" and type(value) is int:
        node[key] = rng.choice([value + 1, value - 1, -value, value * 2, value * 10**9])
    elif how == "nudge" and isinstance(value, list):
        node[key] = rng.choice([value * 2, value[::-1], value[:-1], [*value, None]])
    elif how == "drop":
        del node[key]
    elif how == "swap":
        source, place = rng.choice(_nodes(rng.choice([document, other])))
        node[key] = json.loads(json.dumps(source[place]))
    elif how == "add" and isinstance(node, dict):
        node[rng.choice(["more", "__class__", "net_", key + "_"])] = deepcopy(rng.choice(VALUES))
    else:
        node[key] = deepcopy(rng.choice(VALUES))  # later edits should not change VALUES
    return f"{how} {key!r:.30}"


def _edit_arrays(arrays, other, rng):
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    if name.endswith("/json_text") and rng.random() < 0.7:
        with suppress(ValueError):  # an earlier edit broke the JSON
            values = json.loads(array.tobytes())
            done = _edit_document(values, CONTAINERS, rng)
            arrays[name] = np.frombuffer(json.dumps(values).encode("ascii"), np.uint8)
            return f"{done} in {name}"
    how = rng.choice(["value", "value", "shape", "shape", "fill", "dtype", "view", "drop", "swap"])
    if how in ("value", "fill") and array.size:
        changed = array.copy().reshape(-1)  # some are read-only views
        number = np.array(rng.choice(NUMBERS), np.float64)
        place = slice(None) if how == "fill" else rng.randrange(array.size)
        changed[place] = _cast(number, array.dtype)
        arrays[name] = changed.reshape(array.shape)
    elif how == "dtype":
        arrays[name] = _cast(array, rng.choice(DTYPES))
    elif how == "view":  # the same bytes as numbers of another kind
        same_size = [dtype for dtype in DTYPES if np.dtype(dtype).itemsize == array.itemsize]
        arrays[name] = array.view(rng.choice(same_size))
    elif how == "drop":
        del arrays[name]
    elif how == "swap":
        source = rng.choice([source for source in (arrays, other) if source])
        arrays[name] = source[rng.choice(sorted(source))].copy()
    elif how == "shape" and array.ndim:
        axis = rng.randrange(array.ndim)
        shorter = array.take(range(array.shape[axis] - 1), axis=axis)
        longer = np.repeat(array, 2, axis=axis)
        arrays[name] = rng.choice([longer, shorter, array[..., np.newaxis], array.reshape(-1)])
    return f"{how} of {name}"


def _cast(array, dtype):
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def run_one(bases, seed, number, folder, seconds):
    """Load one example; return the outcome, and an error report or None."""
    base, done, content = alter(bases, random.Random(f"{seed} {number}"))
    path = os.path.join(folder, "altered")
    with open(path, "wb") as file:
        file.write(content)
    outcome, wrong = "refused", None
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _watching() as found:
                try:
                    estimator = sklrec.load(path)
                    outcome = "opened"
                except ValueError as error:
                    if path not in str(error):
                        wrong = f"the error does not name the file: {error}"
            if found:
                wrong = f"loading did {', '.join(found)}"
            if outcome == "opened":
                base.use(estimator)
    except Exception:
        wrong = traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return outcome, wrong and f"example {number} of seed {seed}, {base.name}: {done}\n{wrong}"


def run(n_examples, seed, first=0, seconds=0):
    """Load examples; return counts of outcomes, and error reports; 0 seconds are no limit."""
    counts, failures = Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        bases = [Base(name, folder) for name in example_models.BUILDERS]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(first, first + n_examples):
            outcome, wrong = run_one(bases, seed, number, folder, seconds)
            counts[outcome] += 1
            if wrong:
                failures.append(wrong)
        if left := set(os.listdir(folder)) - {"base", "altered"}:
            failures.append(f"loading left files: {left}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > MEMORY:
        failures.append(f"memory grew by {grown / 2**20:.0f} MiB")
    return counts, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000, help="how many files to load")
    parser.add_argument("--seed", type=int, default=0, help="which examples")
    parser.add_argument("--only", type=int, help="the number of the one example to load")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.addaudithook(_audit)  # a hook cannot be removed
    signal.signal(signal.SIGALRM, _too_slow)
    first, n_examples = (0, options.examples) if options.only is None else (options.only, 1)
    counts, failures = run(n_examples, options.seed, first, SECONDS)
    for failure in failures:
        print(failure, end="\n\n")
    print(", ".join(f"{n:,} {outcome}" for outcome, n in sorted(counts.items())))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
