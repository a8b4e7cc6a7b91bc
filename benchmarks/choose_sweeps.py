"""How the defaults of `MFRegressor`'s als and gibbs were chosen: on held-out training data.

``python -m benchmarks.choose_sweeps``

Of MovieLens 100K only the training part of the first shuffled fold is used; a fifth of it is held
out. `TERMS_PENALTY` of als was chosen likewise. The priors of gibbs are the same for all logs; the
degrees of freedom of users' noise were chosen on held-out training data of two of them.
"""
# SPDX-License-Identifier: BSD-3-Clause

import time
from typing import Any

import numpy as np
from sklearn.model_selection import KFold, train_test_split

from benchmarks._data import movielens, rmse
from benchmarks._measure import settle_environment
from sklrec import MFRegressor

SETTINGS: list[dict[str, Any]] = [
    *({"solver": "als", "n_factors": k, "alpha": a} for k in (32, 48, 64) for a in (0.11, 0.13)),
    *({"solver": "als", "n_iter": n} for n in (4, 6, 12)),
    *(
        {"solver": "als", "implicit_features": True, "n_factors": k, "alpha": a}
        for k in (16, 24, 48)
        for a in (0.15, 0.2, 0.25)
    ),
    *({"solver": "gibbs", "n_factors": k} for k in (8, 10, 16)),
    *({"solver": "gibbs", "n_iter": n} for n in (60, 110, 310)),
    *({"solver": "gibbs", "n_burn_in": n} for n in (30, 60)),
    *({"solver": "gibbs", "implicit_features": True, "n_factors": k} for k in (8, 10, 16)),
    *({"solver": "gibbs", "implicit_features": True, "n_iter": n} for n in (30, 60, 110)),
]
SEEDS = range(2)


def main() -> None:
    """Print the validation RMSE and the seconds of a fit of every setting."""
    settle_environment()
    log = movielens()
    known = log.iloc[next(KFold(5, shuffle=True, random_state=0).split(log))[0]]
    train, valid = train_test_split(known, test_size=0.2, random_state=0)
    columns, truth = ["user", "item"], valid["rating"].to_numpy()
    for setting in SETTINGS:
        errors, seconds = [], []
        for seed in SEEDS:
            start = time.perf_counter()
            model = MFRegressor(**setting, random_state=seed).fit(train[columns], train["rating"])
            seconds.append(time.perf_counter() - start)
            errors.append(rmse(truth, model.predict(valid[columns])))
        name = ", ".join(f"{key}={value}" for key, value in setting.items())
        print(f"{name:<58} {np.mean(errors):.4f} {np.mean(seconds):6.2f} s", flush=True)


if __name__ == "__main__":
    main()
