"""What is compared: ours and the peers, with settings fixed beforehand and used on every log."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any, NamedTuple


class Model(NamedTuple):
    """A library's model with its settings."""

    name: str
    library: str
    params: dict[str, Any]


OURS = Model("sklrec MFRegressor", "sklrec", {})
ADAM = Model("sklrec MFRegressor(solver='adam')", "sklrec", {"solver": "adam"})

# Few factors and few passes; benchmarks/choose_fast.py looked for their settings, and for those of
# the peers called fast.
FAST_SGD = [
    Model(
        f"sklrec MFRegressor, fast, {n_factors} factors, batches of {batch_size:,}",
        "sklrec",
        {"n_factors": n_factors, "batch_size": batch_size, "alpha": alpha},
    )
    for n_factors, batch_size, alpha in (
        (16, 4_096, 0.05),
        (32, 8_192, 0.05),
        (16, 16_384, 0.07),
        (32, 16_384, 0.07),
    )
]
FAST_ADAM = [
    Model(
        f"sklrec MFRegressor(solver='adam'), fast, {n_factors} factors",
        "sklrec",
        {
            "solver": "adam",
            "n_factors": n_factors,
            "batch_size": batch_size,
            "lr": lr,
            "alpha": 0.1,
        },
    )
    for n_factors, batch_size, lr in ((8, 16_384, 0.04), (16, 16_384, 0.04), (32, 8_192, 0.08))
]

SURPRISE = Model("Surprise SVD", "surprise", {})
SURPRISE_TUNED = Model(
    "Surprise SVD, tuned",
    "surprise",
    {"n_factors": 100, "n_epochs": 60, "lr_all": 0.01, "reg_all": 0.1},
)
CORNAC = Model("Cornac MF", "cornac", {})
CORNAC_60 = Model(
    "Cornac MF, 60 epochs",
    "cornac",
    {"k": 100, "max_iter": 60, "learning_rate": 0.01, "lambda_reg": 0.08},
)
CORNAC_100 = Model(
    "Cornac MF, 100 epochs",
    "cornac",
    {"k": 200, "max_iter": 100, "learning_rate": 0.005, "lambda_reg": 0.08},
)
CORNAC_FAST = Model(
    "Cornac MF, fast", "cornac", {"k": 32, "learning_rate": 0.05, "lambda_reg": 0.08}
)
# With a seed Cornac uses one thread, and two can be slower: they share the factors' cache lines.
CORNAC_60_SEEDED, CORNAC_100_SEEDED = (
    Model(f"{model.name}, 1 thread", model.library, {**model.params, "seed": 0})
    for model in (CORNAC_60, CORNAC_100)
)
LENSKIT = Model("LensKit BiasedMFScorer", "lenskit", {})
LIBMF = Model(
    "LIBMF",
    "libmf",
    {
        "k": 40,
        "nr_iters": 60,
        "eta": 0.05,
        "lambda_p1": 0.0,  # no L1 penalty, which is on by default
        "lambda_q1": 0.0,
        "lambda_p2": 0.08,
        "lambda_q2": 0.08,
    },
)
LIBMF_DEFAULT = Model("LIBMF, its defaults", "libmf", {})
LIBMF_FAST = [
    Model(f"LIBMF, fast, {k} factors, rate {eta}", "libmf", {**LIBMF.params, "k": k, "eta": eta})
    for k, eta in ((8, 0.1), (16, 0.1), (32, 0.1), (32, 0.2))
]
ALS = Model("sklrec MFRegressor(solver='als')", "sklrec", {"solver": "als"})
GIBBS = Model("sklrec MFRegressor(solver='gibbs')", "sklrec", {"solver": "gibbs"})
IMPLICIT = Model(
    "sklrec MFRegressor(solver='gibbs', implicit_features=True)",
    "sklrec",
    {"solver": "gibbs", "implicit_features": True},
)
SGD_IMPLICIT = Model(
    "sklrec MFRegressor(implicit_features=True)", "sklrec", {"implicit_features": True}
)
ALS_IMPLICIT = Model(
    "sklrec MFRegressor(solver='als', implicit_features=True)",
    "sklrec",
    {"solver": "als", "implicit_features": True},
)
IMPLICIT_60 = Model(
    f"{IMPLICIT.name[:-1]}, n_iter=60)", "sklrec", {**IMPLICIT.params, "n_iter": 60}
)
MYFM_IMPLICIT = Model(
    "myFM MyFMRegressor, implicit", "myfm", {"rank": 10, "n_iter": 300, "implicit": True}
)
MYFM = Model("myFM MyFMRegressor", "myfm", {"rank": 10, "n_iter": 200})
# The settings of its own guide to collaborative filtering on MovieLens 100K.
FASTAI_NN = Model(
    "fastai collab_learner(use_nn=True)",
    "fastai",
    {"layers": [100, 50], "n_epochs": 5, "lr": 5e-3, "wd": 0.1},
)
FASTAI_DOT = Model(
    "fastai collab_learner",
    "fastai",
    {"n_factors": 50, "n_epochs": 5, "lr": 5e-3, "wd": 0.1},
)
# All that was rated is taken for chosen, whatever the rating.
IMPLICIT_ALS = Model("implicit AlternatingLeastSquares", "implicit", {"factors": 64})

PEERS = [
    SURPRISE,
    SURPRISE_TUNED,
    CORNAC,
    CORNAC_60,
    CORNAC_60_SEEDED,
    CORNAC_100,
    CORNAC_100_SEEDED,
    LENSKIT,
    LIBMF,
    MYFM,
]
