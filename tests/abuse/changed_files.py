"""Model files that change while they are read or written: none ends the process or lies."""
# SPDX-License-Identifier: BSD-3-Clause

# python tests/abuse/changed_files.py 500
#
# The file of one model is loaded, or replaced by another model, in a forked process. At a random
# moment another process changes the file, or the writing process is killed or finds no space. A
# load must give one of the two models, or refuse the file by an error that names it. A save must
# leave the old file or the new one, whole.

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from functools import partial
from hashlib import sha256
from pathlib import Path

import sklrec
from sklrec.datasets import make_ratings

SECONDS = 60  # after which a process hangs
N_SAVES = 5  # of each of two processes that write to one path
STARTED = b"."
CHUNKS = 8  # in which another program copies over a file


class Models:
    """Two models, their files, and ways to tell them apart."""

    def __init__(self, folder, n_users):
        self.X, y = make_ratings(n_users, 200, n_ratings=4 * n_users, random_state=0)
        self.path = folder / "model"
        mf = sklrec.MFRegressor(n_factors=32, max_epochs=1)
        self.models, self.contents = [], []  # the contents are one of several for each model
        for seed in range(2):
            self.models.append(mf.set_params(random_state=seed).fit(self.X, y))
            sklrec.save(mf, folder / "saved")
            self.contents.append((folder / "saved").read_bytes())
            mf = sklrec.MFRegressor(n_factors=32, max_epochs=1)
        os.replace(folder / "saved", folder / "other")
        self.other = folder / "other"
        self.digests = [self.digest(model) for model in self.models]

    def digest(self, model):
        return sha256(model.predict(self.X[:1_000]).tobytes()).hexdigest()

    def load(self):
        """Load the file in this process, and name the model."""
        return f"model {self.digests.index(self.digest(sklrec.load(self.path)))}"

    def save(self, number=1):
        sklrec.save(self.models[number], self.path)
        return "saved"

    def save_without_space(self, n_bytes):
        """Save with a limit on the size of files, which acts as a full disk does."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
        return self.save()

    def restore(self):
        """Put the first model back."""
        beside = self.path.with_name("restored")
        beside.write_bytes(self.contents[0])
        os.replace(beside, self.path)

    def on_disk(self):
        """Name the model whose file is whole, or the reason why none is."""
        return Process(self.load).outcome()


class Process:
    """A forked process that calls a function and sends the outcome."""

    def __init__(self, function, *args):
        reader, writer = os.pipe()
        with warnings.catch_warnings(action="ignore"):  # about forks of processes with threads
            self.pid = os.fork()
        if self.pid == 0:
            signal.alarm(SECONDS)
            os.write(writer, STARTED)
            try:
                outcome = function(*args)
            except (ValueError, OSError) as error:
                outcome = f"{type(error).__name__}: {error}"
            except BaseException:
                outcome = f"another error: {traceback.format_exc()}"
            os.write(writer, outcome.encode())
            os._exit(0)
        os.close(writer)
        os.read(reader, len(STARTED))
        self._reader = reader

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def outcome(self):
        """Wait for the end; name the signal if one ended it."""
        with open(self._reader, encoding="utf-8") as file:
            text = file.read()
        status = os.waitpid(self.pid, 0)[1]
        return f"ended by {signal.Signals(status).name}" if status else text


WHOLE = {"model 0", "model 1"}


def truncate(models, rng):
    os.truncate(models.path, rng.randrange(len(models.contents[0])))


def copy_over(models, rng):
    """Write the other model into the file, as `cp` does."""
    content = models.contents[1]
    with open(models.path, "wb", buffering=0) as file:
        for k in range(CHUNKS):
            file.write(content[k * len(content) // CHUNKS : (k + 1) * len(content) // CHUNKS])


def change_bytes(models, rng):
    """Change some bytes anywhere, or in the header with the dtypes, shapes and places."""
    with open(models.path, "r+b", buffering=0) as file:
        for _ in range(rng.choice([1, 8, 64])):
            file.seek(rng.randrange(rng.choice([1_000, len(models.contents[0])])))
            file.write(rng.randbytes(rng.choice([1, 8])))


def replace(models, rng):
    beside = models.path.with_name("restored")
    shutil.copy(models.other, beside)
    os.replace(beside, models.path)


def remove(models, rng):
    os.unlink(models.path)


CHANGES = [truncate, copy_over, change_bytes, replace, remove]


def loaded(models, rng, seconds):
    """Change the file while it is loaded."""
    change, process = rng.choice(CHANGES), Process(models.load)
    time.sleep(seconds)
    change(models, rng)
    outcome = process.outcome()
    is_named = (
        outcome.startswith(("ValueError", "FileNotFoundError")) and str(models.path) in outcome
    )
    is_right = outcome == "model 0" or is_named
    if change in (copy_over, replace):
        is_right |= outcome == "model 1"
    what = "refused" if is_named else outcome
    return f"{change.__name__} during load: {what}", is_right


def saved(models, rng, seconds):
    """Change the file while it is replaced, and load what is there then."""
    change, process = rng.choice(CHANGES), Process(models.save)
    time.sleep(seconds)
    change(models, rng)
    outcome = process.outcome()
    if not models.path.exists():  # removed after the save
        return f"{change.__name__} during save: {outcome}", outcome == "saved"
    found = models.on_disk()
    is_right = found == "model 1" or (found.startswith("ValueError") and str(models.path) in found)
    return f"{change.__name__} during save: {outcome}", outcome == "saved" and is_right


def killed(models, rng, seconds):
    """Kill a process that saves."""
    process = Process(models.save)
    time.sleep(seconds)
    process.kill()
    process.outcome()
    found = models.on_disk()
    for left in models.path.parent.glob(".*.tmp"):  # nothing can remove it after SIGKILL
        left.unlink()
    return f"killed during save: {found}", found in WHOLE


def without_space(models, rng, seconds):
    """Save with too little space."""
    n_bytes = rng.randrange(len(models.contents[1]))
    outcome = Process(models.save_without_space, n_bytes).outcome()
    is_named = outcome.startswith("OSError") and str(models.path) in outcome
    found = models.on_disk()
    return f"no space: {found}", is_named and found == "model 0"


def two_writers(models, rng, seconds):
    """Two processes save to one path, and a third one loads."""

    def save_often(number):
        return " ".join(models.save(number) for _ in range(N_SAVES))

    def load_often():
        return " ".join(sorted({models.load() for _ in range(N_SAVES)}))

    writers = [Process(save_often, number) for number in range(2)]
    found = Process(load_often).outcome()
    outcomes = {writer.outcome() for writer in writers}
    is_right = outcomes == {" ".join(["saved"] * N_SAVES)} and models.on_disk() in WHOLE
    is_right &= set(found.split()) <= {"model", "0", "1"}
    return "two writers" if is_right else f"two writers: {outcomes} {found}", is_right


def measured(function):
    """Seconds of a function; the first call fills caches."""
    function()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


ABUSES = [loaded, saved, killed, without_space, two_writers]


def run(n_moments, seed=0, n_users=4_000, abuses=ABUSES):
    """Do each of these so often; return counts of outcomes, and error reports."""
    rng, counts, failures = random.Random(seed), Counter(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = Models(folder, n_users)
        models.restore()
        files = set(os.listdir(folder))
        took = {loaded: measured(partial(sklrec.load, models.path)), saved: measured(models.save)}
        took[killed] = took[saved]
        for abuse in abuses:
            for _ in range(n_moments if abuse is not two_writers else -(-n_moments // 10)):
                models.restore()
                # A load reads the file first, and a save writes it last.
                moment = rng.random() ** 2 if abuse is loaded else 1.1 * rng.random()
                what, is_right = abuse(models, rng, moment * took.get(abuse, 0))
                counts[what if is_right else "failed"] += 1
                if not is_right:
                    failures.append(what)
                if left := set(os.listdir(folder)) - files:
                    failures.append(f"{what}: left {left}")
    return counts, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_moments", type=int, nargs="?", default=500)
    parser.add_argument("--users", type=int, default=4_000, help="they make the files larger")
    options = parser.parse_args()
    failed = False
    for abuse in ABUSES:
        counts, failures = run(options.n_moments, n_users=options.users, abuses=[abuse])
        failed |= bool(failures)
        for failure in failures:
            print(failure)
        for what, n in sorted(counts.items()):
            print(f"{n:>6,} {what}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
