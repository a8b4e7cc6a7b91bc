"""Ratios to peers in a few minutes, next to the ratios of the last release."""
# SPDX-License-Identifier: BSD-3-Clause

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd

from benchmarks import _models as m
from benchmarks import encoding, implicit, predict, recommend, scaling
from benchmarks._data import SHUFFLED, described_movielens, folds, made, movielens, rmse
from benchmarks._measure import alternate, seconds
from benchmarks._peers import LeftOut
from benchmarks._peers import run as fit_and_predict
from benchmarks._results import RESULTS, table

ROUNDS, WARM = 3, 1_000
MOVED = 0.2  # change of a ratio that is marked
FITS = [
    (m.OURS, m.LIBMF),
    (m.OURS_SVDPP, m.CORNAC_60_SEEDED),
    (m.BAYESIAN, m.MYFM),
    (m.ours("DenseRecRegressor"), m.SURPRISE_TUNED),
]
# Settings that both libraries reach about the same NDCG with.
EVENTS = {
    implicit.OURS: {"share": 20, "alpha": 0.005, "n_factors": 64},
    implicit.ALS: {"alpha": 1, "regularization": 0.1, "factors": 64},
}
N_ROWS = 1_000_000  # that are encoded
N_FACTORS, TABLE_MB = 32, 8
Pair = tuple[str, float, float]  # what, ours and theirs


def run(*, quick: bool = False) -> dict[str, Any]:
    """Compare several times, and mark the ratios that differ from the stored ones."""
    rows: list[dict[str, Any]] = []
    left_out = []
    for compare in (fits, events, codes, encodings, lists, memory):
        try:
            for what, ours, theirs in compare(ROUNDS):
                rows.append({"what": what, "ours": ours, "theirs": theirs})
        except LeftOut as reason:
            left_out.append(f"{compare.__name__}: left out, {reason}")
    frame = pd.DataFrame(rows)
    frame["ratio"] = frame["ours"] / frame["theirs"]
    found = frame.groupby("what", sort=False).agg(
        ours=("ours", "median"),
        theirs=("theirs", "median"),
        ratio=("ratio", "mean"),
        error=("ratio", "sem"),
    )
    found["stored"] = pd.Series(stored(), dtype=float)
    found["change"] = found["ratio"] / found["stored"] - 1
    found["mark"] = ["moved" if abs(c) > MOVED else "" for c in found["change"]]
    forms = {"": "", "Ours": ".3g", "Theirs": ".3g", "Ratio": ".3f", "Standard error": ".3f"}
    forms |= {"Stored ratio": ".3f", "Change": "+.0%", "Mark": ""}
    return {
        "title": "Quick ratios",
        "notes": [
            f"Ours over theirs, in the same run; smaller is better for us. Means of {ROUNDS} "
            "rounds with standard errors, and medians of the two figures. Fits: the first fold "
            f"of {SHUFFLED} of MovieLens 100K. The stored ratios are from the last release. "
            f"A ratio is marked if it moved by more than {MOVED:.0%}."
        ],
        "tables": [table("Ratios", forms, found.reset_index())],
        "left_out": left_out,
    }


def stored() -> dict[str, float]:
    """Ratios of the last release by name; empty before the first one."""
    path = RESULTS / "quick.json"
    if not path.exists():
        return {}
    (found,) = json.loads(path.read_text())["tables"]
    place = list(found["columns"]).index("Ratio")
    return {row[0]: row[place] for row in found["rows"]}


def fits(rounds: int) -> Iterator[Pair]:
    train, test = next(folds(movielens(), shuffle=True))
    truth = test["rating"].to_numpy()
    for ours, theirs in FITS:
        answers = [fit_and_predict(model, train, test, [{}] * rounds) for model in (ours, theirs)]
        for pair in zip(*answers, strict=True):
            yield f"Fit, s: {ours.name} / {theirs.name}", *(a.fit_seconds for a in pair)
            yield f"RMSE: {ours.name} / {theirs.name}", *(rmse(truth, a.prediction) for a in pair)


def events(rounds: int) -> Iterator[Pair]:
    part = implicit.cut(described_movielens().rename(columns={"rating": "count"}), 0, True)
    contenders = {c.name: c for c in implicit.CONTENDERS}
    found = [
        implicit.evaluate(contenders[name], [{**job, "random_state": 0}] * (1 + rounds), part)[1:]
        for name, job in EVENTS.items()
    ]
    for ours, theirs in zip(*found, strict=True):
        yield f"Fit, s: {implicit.OURS} / {implicit.ALS}", ours[2], theirs[2]
        yield f"NDCG: {implicit.ALS} / {implicit.OURS}", theirs[0], ours[0]


def codes(rounds: int) -> Iterator[Pair]:
    for _ in range(rounds):
        *_, ratio, _ = predict.codes(N_FACTORS, TABLE_MB, quick=True)
        yield (
            f"Ratings of codes, s: sklrec MFRegressor, {N_FACTORS} factors / bare loop",
            ratio,
            1.0,
        )


def encodings(rounds: int) -> Iterator[Pair]:
    X = encoding.random_ids(N_ROWS, "str")
    names = steps, hashed = "IDEncoder, fit then transform", "pandas.factorize of both columns"
    for rows in (X.head(WARM), *[X] * rounds):
        both: dict[str, Callable[[], float]] = {
            name: partial(seconds, partial(encoding.CONTENDERS[name], rows)) for name in names
        }
        took = alternate(both, 1)
        if rows is X:
            yield f"Encoding, s: {steps} / {hashed}", took[steps], took[hashed]


def lists(rounds: int) -> Iterator[Pair]:
    log = made(5_000, 2_000, 100_000)
    for _ in range(rounds):
        found, _, left_out = recommend.compare_lists(log, 1)
        if left_out:
            raise LeftOut(left_out[0])
        names = recommend.OURS, recommend.PEER
        yield f"Lists, s: {names[0]} / {names[1]}", *(found[name][0] for name in names)


def memory(rounds: int) -> Iterator[Pair]:
    for model in scaling.OF_PAIRS:
        rows, _ = scaling.grow(model, [100_000])
        if rows:
            yield f"Memory of a fit: {model.name} / X and y", rows[0]["multiple"], 1.0
