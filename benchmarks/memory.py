"""Peak memory and time of one fit in a fresh process."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import pandas as pd

from benchmarks._data import made, movielens
from benchmarks._models import CORNAC_60, LENSKIT, LIBMF, MYFM, OURS, SURPRISE
from benchmarks._peers import Field

MODELS = [OURS, SURPRISE, CORNAC_60, LENSKIT, LIBMF, MYFM]
MB = 1e6


def run(*, quick: bool = False) -> dict[str, Any]:
    """Fit once each, without a fit beforehand that would leave memory behind."""
    n_ratings = 200_000 if quick else 1_000_000
    logs = {
        "MovieLens 100K": movielens(),
        f"{n_ratings:,} made ratings by 6,000 users of 4,000 items": made(6_000, 4_000, n_ratings),
    }
    tables, left_out, measurements = [], [], {}
    for title, log in logs.items():
        field = Field(MODELS, time_limit=300)
        measurements[title] = measure(field, log)
        tables.append(
            {
                "title": title,
                "columns": {
                    "Model": "",
                    "Peak of the process, MB": ".0f",
                    "Training set and fit alone, MB": ".0f",
                    "Fit, s": ".2f",
                },
                "rows": [list(row.values()) for row in measurements[title]],
            }
        )
        left_out += [f"{title}: {line}" for line in field.left_out]
    return {
        "title": "Peak memory of fit",
        "notes": [
            "The peak includes the interpreter, the imports and the ratings; the second figure "
            "is what building the training set and fitting add to them. First fit of a process."
        ],
        "tables": tables,
        "left_out": left_out,
        "measurements": measurements,
    }


def measure(field: Field, log: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a model."""
    rows = []
    for model in list(field.models):
        for answer in field.run(model, log, log[:1], warm_up=False) or []:
            rows.append(
                {
                    "model": model.name,
                    "peak_mb": answer.peak_bytes / MB,
                    "fit_mb": answer.fit_bytes / MB,
                    "fit_seconds": answer.fit_seconds,
                }
            )
    return rows
