"""Ctrl-C at random moments of public calls: each ends with KeyboardInterrupt, or is done."""
# SPDX-License-Identifier: BSD-3-Clause

# python tests/abuse/interrupts.py 3000
#
# The signal comes at a random moment of a call. The call must end with KeyboardInterrupt or have
# ended. Afterwards the estimator must give the answers of before; one that was trained must
# predict, and give them after another fit. Settings of torch and of other libraries must be as
# before.

import argparse
import faulthandler
import logging
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from copy import copy
from threading import Thread

import numpy as np
import sklearn
import torch
from fitted_models import ESTIMATORS, OTHERS, X, Y, networks

import sklrec
from sklrec import IDEncoder, SequencePadder, SequenceWindower
from sklrec.approximate import ApproximateItems
from sklrec.datasets import ChunkedRatings, interactions_from_wide, make_ratings
from sklrec.export import EXPORTED, onnx_inputs, to_onnx
from sklrec.metrics import make_ranking_scorer, ndcg_at_k
from sklrec.model_selection import (
    ColdUserKFold,
    GlobalTimeSplit,
    LastInteractionsSplit,
    UserStratifiedKFold,
)

SECONDS = 600  # after which a call hangs
RARE = {"to_onnx": 0.1}  # an export takes seconds
LOGGERS = "torch.onnx", "onnx_ir"
N_THREADS = 2  # of torch: calls lower the number only where it is above one
NEW, NEW_Y = X[:40].assign(user=X["user"][:40] + 1_000), Y[:40]
SPLITTERS = [
    ColdUserKFold(2),
    GlobalTimeSplit(2),
    LastInteractionsSplit(1, random_state=0),
    UserStratifiedKFold(2, shuffle=True, random_state=0),
]
# Arguments of methods. An estimator has some of them.
METHODS = {
    "predict": (X,),
    "predict with std": (X,),
    "predict_rating_proba": (X,),
    "decision_function": (X,),
    "score": (X, Y),
    "recommend": (None, 3),
    "recommend_for": (NEW, NEW_Y, 3),
    "fold_in": (NEW, NEW_Y),
    "explain": (X["user"][:9], X["item"][:9]),
    "similar_items": (X["item"].unique()[:9], 3),
    "similar_users": (X["user"].unique()[:9], 3),
}


def answer(model):
    """Give the predictions of a model, or the scores of a model of events."""
    return (model.predict if hasattr(model, "predict") else model.decision_function)(X)


class Fitted:
    """A fitted estimator, its public calls, and a check that they left it whole."""

    def __init__(self, make, folder):
        self.model, self.path = make().fit(X, Y), os.path.join(folder, "model")
        sklrec.save(self.model, self.path)
        self.before = answer(self.model)
        self.copy = copy(self.model)

    def calls(self):
        """Give the calls by name; calls that train use a copy."""
        model = self.model
        calls = {
            name: lambda name=name, given=given: getattr(model, name)(*given)
            for name, given in METHODS.items()
            if hasattr(model, name)
        }
        calls["fit"] = lambda: self.train("fit", X, Y)
        calls["save"] = lambda: sklrec.save(model, self.path)
        calls["load"] = self.load
        if hasattr(model, "partial_fit"):
            calls["partial_fit"] = lambda: self.train("partial_fit", X, Y)
        if isinstance(model, sklrec.BiasRegressor | sklrec.BayesianMFRegressor):
            calls["predict with std"] = lambda: model.predict(X, return_std=True)
        if isinstance(model, EXPORTED):
            calls["to_onnx"] = lambda: to_onnx(model, self.path)
            calls["onnx_inputs"] = lambda: onnx_inputs(model, X)
        if type(model) is sklrec.MFRegressor and not model.svdpp:
            index = ApproximateItems(model)
            calls["fit of chunks"] = lambda: self.train("fit", ChunkedRatings([(X, Y)]))
            calls["ApproximateItems"] = lambda: ApproximateItems(model)
            calls["ApproximateItems.recommend"] = lambda: index.recommend(n_items=3)
        return calls

    def load(self):
        return sklrec.load(self.path, custom_objects={"Factors": networks.Factors})

    def train(self, method, *rows):
        self.copy = copy(self.model)
        getattr(self.copy, method)(*rows)

    def problem(self, what):
        """Say what is wrong after a call, or nothing."""
        again = [self.model]
        if what in ("fit", "fit of chunks", "partial_fit"):
            if not np.isfinite(answer(self.copy)).all():  # it keeps what it has learned
                return " predictions that are not finite"
            again.append(self.copy.fit(X, Y))
        if what == "to_onnx":
            sklrec.save(self.model, self.path)  # the path may hold a graph
        if what in ("save", "to_onnx"):
            again.append(self.load())
        if not all(np.array_equal(answer(model), self.before) for model in again):
            return " other predictions"
        return ""


class Functions:
    """Public functions and transformers without a fitted rating model."""

    def __init__(self, _):
        self.lists = ESTIMATORS["bias"]().fit(X, Y).recommend(n_items=3)
        self.codes = IDEncoder().fit_transform(X)
        self.wanted = {name: self.values(call()) for name, call in self.calls().items()}

    def calls(self):
        scorer, model = (
            make_ranking_scorer(ndcg_at_k, k=3, threshold=4),
            ESTIMATORS["bias"]().fit(X, Y),
        )
        wide = X.assign(rating=Y).drop_duplicates(["user", "item"])
        wide = wide.pivot(index="user", columns="item", values="rating")
        transform = {
            "IDEncoder": lambda: IDEncoder().fit_transform(X),
            "SequenceWindower": lambda: SequenceWindower(4).fit_transform(self.codes),
            "SequencePadder": lambda: SequencePadder(4).fit_transform([[1, 2], [3], [4, 5, 6]]),
        }
        split = {type(s).__name__: lambda s=s: [*s.split(X, Y)] for s in SPLITTERS}
        return {
            **transform,
            **split,
            "make_ratings": lambda: make_ratings(30, 20, n_ratings=200, random_state=0),
            "interactions_from_wide": lambda: interactions_from_wide(wide),
            "ndcg_at_k": lambda: ndcg_at_k(X, self.lists, k=3),
            "scorer": lambda: scorer(model, X, Y),
        }

    @staticmethod
    def values(found):
        """Give the numbers of a result."""
        if isinstance(found, tuple | list):
            return np.concatenate([Functions.values(part) for part in found])
        return np.asarray(found, dtype=float).reshape(-1)

    def problem(self, what):
        found = self.values(self.calls()[what]())
        return "" if np.array_equal(found, self.wanted[what]) else " another result"


def settings():
    """Settings of the process that belong to the user."""
    in_a_new_thread = []
    thread = Thread(target=lambda: in_a_new_thread.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return {
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": torch.empty(0).device,
        "autocast": torch.is_autocast_enabled("cpu"),
        "threads": torch.get_num_threads(),
        "threads of new threads": in_a_new_thread[0],
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "NumPy's generator": np.random.get_state()[1].tobytes(),  # noqa: NPY002
        "NumPy's errors": np.geterr(),
        "scikit-learn": sklearn.get_config(),
        "filters of warnings": warnings.filters[:],
        "log levels": [logging.getLogger(name).level for name in LOGGERS],
    }


def restore(before):
    """Set the settings again, so that each failure is found once."""
    torch.set_grad_enabled(before["gradients"])
    torch.set_default_dtype(before["dtype"])
    torch.set_num_threads(before["threads"])
    for name, level in zip(LOGGERS, before["log levels"], strict=True):
        logging.getLogger(name).setLevel(level)
    warnings.filters[:] = before["filters of warnings"]


class Interrupter:
    """Handler of the signal; one that comes after the call, by another thread, does nothing."""

    is_on = False

    def __call__(self, *_):
        if self.is_on:
            self.is_on = False
            raise KeyboardInterrupt


def interrupt(interrupter, call, seconds):
    """Call a function, send the signal after some time, and name the outcome."""
    try:
        interrupter.is_on = True
        signal.setitimer(signal.ITIMER_REAL, seconds)
        call()
        interrupter.is_on = False
    except KeyboardInterrupt:
        return "interrupted"
    except BaseException as error:
        return f"{type(error).__name__}: {error!r:.200}"
    finally:
        interrupter.is_on = False
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "done"


def measured(call):
    """Seconds of a call, or None if this model refuses it; the first one fills caches."""
    try:
        call()
    except ValueError:  # such as `explain` with side features
        return None
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run(n_interrupts, seed=0, *, without=()):
    """Interrupt calls; return counts of outcomes and of calls, and error reports."""
    rng, counts, called, failures = random.Random(seed), Counter(), Counter(), []
    makers = {
        name: lambda folder, make=make: Fitted(make, folder)
        for name, make in (ESTIMATORS | OTHERS).items()
    }
    makers["functions"] = Functions
    interrupter = Interrupter()
    before_handler = signal.signal(signal.SIGALRM, interrupter)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(N_THREADS)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            for name, make in makers.items():
                subject = make(folder)
                files = set(os.listdir(folder))
                calls, durations = subject.calls(), {}
                names = sorted(calls.keys() - set(without))
                for _ in range(n_interrupts // len(makers)):
                    faulthandler.dump_traceback_later(SECONDS, exit=True)
                    [what] = rng.choices(names, [RARE.get(what, 1) for what in names])
                    while (took := durations.get(what) or measured(calls[what])) is None:
                        names.remove(what)
                        what = rng.choice(names)
                    durations[what], before = took, settings()  # the first call imports much
                    outcome = interrupt(interrupter, calls[what], max(1e-5, rng.random() * took))
                    problem = "" if outcome in ("interrupted", "done") else outcome
                    after = settings()
                    for setting in before:
                        if after[setting] != before[setting]:
                            problem += f" {setting} became {after[setting]!r:.200}"
                    restore(before)
                    try:
                        problem += subject.problem(what)
                    except Exception as error:
                        problem += f" then {type(error).__name__}: {error!r:.200}"
                    if set(os.listdir(folder)) != files:
                        problem += f" files {os.listdir(folder)}"
                    counts[(problem and "failed") or outcome] += 1
                    called[f"{name}.{what}"] += 1
                    if problem:
                        failures.append(f"{name}.{what}, {outcome}: {problem}")
                        subject = make(folder)  # each failure is found once
                        calls, files = subject.calls(), set(os.listdir(folder))
    finally:
        faulthandler.cancel_dump_traceback_later()
        torch.set_num_threads(n_threads)
        signal.signal(signal.SIGALRM, before_handler)
    return counts, called, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_interrupts", type=int, nargs="?", default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts, called, failures = run(options.n_interrupts, options.seed)
    for failure in failures:
        print(failure)
    print(", ".join(f"{n:,} {outcome}" for outcome, n in sorted(counts.items())))
    print(f"{len(called)} calls were interrupted {min(called.values())} times or more")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
