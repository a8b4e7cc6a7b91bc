"""Kill -9 at random moments of fits and of writing: nothing may be lost, and nothing corrupt."""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from select import select

import numpy as np
import torch

from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor, _checkpoints
from sklrec._tensor_file import read_tensor_file, write_tensor_file
from sklrec.datasets import make_ratings

X, y = make_ratings(n_users=400, n_items=150, n_ratings=8000, random_state=0)
SHORT = {"n_factors": 8, "random_state": 0}
FITS = {
    "sgd": lambda: MFRegressor(**SHORT, max_epochs=20, batch_size=256),
    "sgd, implicit": lambda: MFRegressor(**SHORT, max_epochs=12, implicit_features=True),
    "adam, stopping": lambda: MFRegressor(
        **SHORT, solver="adam", max_epochs=30, early_stopping=True, batch_size=256
    ),
    "als": lambda: MFRegressor(**SHORT, solver="als", n_iter=20, tol=0),
    "gibbs": lambda: MFRegressor(**SHORT, solver="gibbs", n_iter=25, n_burn_in=5),
    "dense": lambda: DenseRecRegressor(**SHORT, max_epochs=6, dropout=0.2),
    "sequence": lambda: SequenceRatingRegressor(**SHORT, max_epochs=3),
}
N_NUMBERS = 1_000_000  # in a file that is only written


def fit(make, path=None):
    """Give a digest of all that a fit ends with."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make().fit(X, y, checkpoint=path)
    digest = hashlib.sha256(repr((model.loss_curve_, model.n_iter_)).encode())
    for name, values in model.module_.state_dict().items():
        digest.update(name.encode())
        digest.update(values.numpy().tobytes())
    digest.update(model.predict(X[:500]).tobytes())
    return digest.hexdigest()


def in_a_child(work, patience):
    """Let a child work and kill it then; give what it said, and whether it came to an end.

    Parameters
    ----------
    work : callable
        What the child does. It gets a function to say a number by.
    patience : float
        After how many seconds to kill it.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            work(lambda text: os.write(writing, f"{text}\n".encode()))
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__} in a child: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    os.close(writing)
    deadline = time.monotonic() + patience
    said = b""
    while (left := deadline - time.monotonic()) > 0 and select([reading], [], [], left)[0]:
        if not (more := os.read(reading, 4096)):
            break  # it is at its end
        said += more
    os.kill(child, signal.SIGKILL)  # which does nothing to one that has ended
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as rest:
        words = (said + rest.read()).decode().split()
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise AssertionError("a child failed by itself")
    return words, not os.WIFSIGNALED(status)


def number_in(path, kind):
    """Read a file, which must be whole, and give the number that it was written with."""
    return read_tensor_file(path, kind)[0]["number"] if path.exists() else 0


def kill_a_fit(name, reference, seconds, folder, count):
    """Kill a fit again and again until it ends; then it must have ended as without."""
    path = Path(folder) / "fit.checkpoint"
    ended = False
    while not ended:
        before = number_in(path, "checkpoint")

        def work(say, before=before):
            n_written = before

            def write(path, kind, document, arrays):
                nonlocal n_written
                n_written += 1
                write_tensor_file(path, kind, {**document, "number": n_written}, arrays)
                say(n_written)

            _checkpoints.write_tensor_file = write
            say(fit(FITS[name], path))

        words, ended = in_a_child(work, random.uniform(0, seconds))
        numbers = [int(word) for word in words if len(word) < 64]
        if number_in(path, "checkpoint") < max([before, *numbers]):
            raise AssertionError(f"{name}: a checkpoint that was complete is lost")
        if not ended:
            count["fits killed"] += 1
            count["killed before the first checkpoint"] += not path.exists()
    if words[-1] != reference:
        raise AssertionError(f"{name}: the fit that went on ended otherwise")
    count["fits that ended the same"] += 1
    count["files left beside"] += len(os.listdir(folder)) - 1
    path.unlink()


def kill_a_write(folder, count):
    """Kill while one file is written over and over."""
    path = Path(folder) / "model"
    before = number_in(path, "model")

    def work(say):
        for number in range(before + 1, before + 1000):
            array = np.full(N_NUMBERS, number, dtype=np.float32)
            write_tensor_file(path, "model", {"number": number}, {"array": array})
            say(number)

    words, _ = in_a_child(work, random.uniform(0, 0.2))
    count["writers killed"] += 1
    if path.exists():
        document, arrays = read_tensor_file(path, "model")
        if not (arrays["array"] == document["number"]).all():
            raise AssertionError("a file holds another's array")
    if number_in(path, "model") < max([before, *map(int, words)]):
        raise AssertionError("a file that was complete is lost")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=200, help="moments of fits")
    parser.add_argument("--writes", type=int, default=200, help="moments of writing")
    parser.add_argument("--only", choices=list(FITS), help="of this fit")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    random.seed(asked.seed)
    _checkpoints.MIN_SECONDS, _checkpoints.MAX_SHARE = 0.0, float("inf")
    torch.set_num_threads(1)  # so that the parent has no threads that a fork would lose
    count = dict.fromkeys(
        [
            "fits killed",
            "killed before the first checkpoint",
            "fits that ended the same",
            "writers killed",
            "files left beside",
        ],
        0,
    )
    references = {}
    names = [asked.only] if asked.only else list(FITS)
    with tempfile.TemporaryDirectory() as folder:
        k = 0
        while count["fits killed"] < asked.fits:
            name = names[k % len(names)]
            k += 1
            if name not in references:
                digest = fit(FITS[name])
                start = time.monotonic()
                in_a_child(lambda say, name=name: fit(FITS[name], Path(folder) / "timed"), 600)
                references[name] = digest, time.monotonic() - start
                (Path(folder) / "timed").unlink()
            kill_a_fit(name, *references[name], folder, count)
        for _ in range(asked.writes):
            kill_a_write(folder, count)
        count["files left beside"] += len(set(os.listdir(folder)) - {"model"})
    print("0 corrupt files, 0 lost checkpoints;", ", ".join(f"{n} {v}" for n, v in count.items()))


if __name__ == "__main__":
    if not hasattr(os, "fork"):
        sys.exit("This takes a system with fork.")
    main()
