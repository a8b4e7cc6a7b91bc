"""Peak memory and time of one fit in a fresh process."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any

import pandas as pd

from benchmarks._data import made, movielens
from benchmarks._models import CORNAC_60, LENSKIT, LIBMF, MYFM, OURS, SURPRISE
from benchmarks._peers import Field
from benchmarks._results import table

MODELS = [OURS, SURPRISE, CORNAC_60, LENSKIT, LIBMF, MYFM]
MB = 1e6


def run(*, quick: bool = False) -> dict[str, Any]:
    """Fit each model once, without a warm-up, which would leave memory behind."""
    n_ratings = 200_000 if quick else 1_000_000
    logs = {
        "MovieLens 100K": movielens(),
        f"{n_ratings:,} made ratings by 6,000 users of 4,000 items": made(6_000, 4_000, n_ratings),
    }
    tables, left_out = [], []
    forms = {"Peak of the process, MB": ".0f", "Training set and fit alone, MB": ".0f"}
    for title, log in logs.items():
        field = Field(MODELS, time_limit=300)
        tables.append(table(title, {"Model": "", **forms, "Fit, s": ".2f"}, measure(field, log)))
        left_out += [f"{title}: {line}" for line in field.left_out]
    return {
        "title": "Peak memory of fit",
        "notes": [
            "The peak includes the interpreter, the imports and the ratings. The second figure is "
            "the memory that the training set and the fit add to them. First fit of a process."
        ],
        "tables": tables,
        "left_out": left_out,
    }


def measure(field: Field, log: pd.DataFrame) -> Iterator[list[Any]]:
    """One row for each model."""
    for model in list(field.models):
        for answer in field.run(model, log, log[:1], warm_up=False) or []:
            peaks = answer.peak_bytes / MB, answer.fit_bytes / MB
            yield [model.name, *peaks, answer.fit_seconds]
