"""Ctrl-C at random moments of public methods: each ends with KeyboardInterrupt, or is done."""
# SPDX-License-Identifier: BSD-3-Clause

# python tests/abuse/interrupts.py 3000
#
# The signal comes at a random moment of a call. The call must end with KeyboardInterrupt or have
# ended, the estimator must work afterwards, and torch's settings must be as before.

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from copy import copy

import torch
from fitted_models import ESTIMATORS, X, Y

import sklrec


def calls_of(model, path):
    """Public methods that take time, by name."""
    calls = {
        "fit": lambda: copy(model).fit(X, Y),
        "predict": lambda: model.predict(X),
        "recommend": lambda: model.recommend(n_items=3),
        "save": lambda: sklrec.save(model, path),
        "load": lambda: sklrec.load(path),
    }
    if hasattr(model, "partial_fit"):
        calls["partial_fit"] = lambda: copy(model).partial_fit(X, Y)
    if hasattr(model, "similar_items"):
        calls["similar_items"] = lambda: model.similar_items(X["item"].unique()[:9], n_items=3)
    return calls


def settings():
    """Settings of torch that belong to the user."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.empty(0).device,
        torch.is_autocast_enabled("cpu"),
        torch.get_num_threads(),
    )


def interrupt(call, seconds):
    """Call a function, send the signal after some time, and name the outcome."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return "interrupted"
    except BaseException as error:
        return f"{type(error).__name__}: {error!r:.200}"
    return "done"


def run(n_interrupts, seed=0):
    """Interrupt calls; return counts of outcomes, and error reports."""
    rng, counts, failures = random.Random(seed), Counter(), []
    before_handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    before = settings()
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            names = sorted(ESTIMATORS)
            for name in names:
                model = ESTIMATORS[name]().fit(X, Y)
                path = os.path.join(folder, "model")
                sklrec.save(model, path)
                calls, durations = calls_of(model, path), {}
                wanted = model.predict(X)
                for what, call in calls.items():
                    start = time.perf_counter()
                    call()
                    durations[what] = time.perf_counter() - start
                for _ in range(n_interrupts // len(names)):
                    what = rng.choice(sorted(calls))
                    outcome = interrupt(calls[what], max(1e-5, rng.random() * durations[what]))
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    problem = "" if outcome in ("interrupted", "done") else outcome
                    if settings() != before:
                        problem += f" torch's settings became {settings()}"
                        torch.set_grad_enabled(before[0])
                        torch.set_default_dtype(before[2])
                        torch.set_num_threads(before[-1])
                    if not (model.predict(X) == wanted).all():
                        problem += " other predictions"
                    if set(os.listdir(folder)) != {"model"}:
                        problem += f" files {os.listdir(folder)}"
                    counts[(problem and "failed") or outcome] += 1
                    if problem:
                        failures.append(f"{name}.{what}: {problem}")
    finally:
        signal.signal(signal.SIGALRM, before_handler)
    return counts, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_interrupts", type=int, nargs="?", default=300)
    counts, failures = run(parser.parse_args().n_interrupts)
    for failure in failures:
        print(failure)
    print(", ".join(f"{n:,} {outcome}" for outcome, n in sorted(counts.items())))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
