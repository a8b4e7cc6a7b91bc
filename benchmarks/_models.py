"""Models that the benchmarks compare, with settings that are the same for every log."""
# SPDX-License-Identifier: BSD-3-Clause

from inspect import signature
from typing import Any, NamedTuple


class Model(NamedTuple):
    """A model of a library and its settings."""

    name: str
    library: str
    params: dict[str, Any]


def ours(estimator: str, label: str = "", **params: Any) -> Model:
    """A model of ours; its name is the call, then the label."""
    call = ", ".join(f"{name}={value!r}" for name, value in params.items())
    name = f"sklrec {estimator}{f'({call})' if call else ''}{label}"
    return Model(name, "sklrec", {"estimator": estimator, **params})


def make(model: Model, **params: Any) -> Any:
    import sklrec

    options = {**model.params, **params}
    kind = getattr(sklrec, options.pop("estimator", "MFRegressor"))
    if "random_state" in signature(kind).parameters:
        options.setdefault("random_state", 0)
    return kind(**options)


OURS = ours("MFRegressor")
OURS_SVDPP = ours("MFRegressor", svdpp=True)
BAYESIAN = ours("BayesianMFRegressor")
BAYESIAN_SVDPP = ours("BayesianMFRegressor", svdpp=True)
# Few factors and few epochs. A random search over held-out training rows chose these settings, and
# those of the other libraries' fast models.
SETTINGS = (16, 4_096, 0.05), (32, 8_192, 0.05), (16, 16_384, 0.07), (32, 16_384, 0.07)
FAST = [
    Model(
        f"sklrec MFRegressor, fast, {n_factors} factors, batches of {batch_size:,}",
        "sklrec",
        {"n_factors": n_factors, "batch_size": batch_size, "alpha": alpha},
    )
    for n_factors, batch_size, alpha in SETTINGS
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
CORNAC_FAST = Model(
    "Cornac MF, fast", "cornac", {"k": 32, "learning_rate": 0.05, "lambda_reg": 0.08}
)
# With a seed Cornac uses one thread. Two threads can be slower: they share cache lines.
CORNAC_60_SEEDED = Model(
    "Cornac MF, 60 epochs, 1 thread", "cornac", CORNAC_60.params | {"seed": 0}
)
LENSKIT = Model("LensKit BiasedMFScorer", "lenskit", {})
PENALTY = {"lambda_p1": 0.0, "lambda_q1": 0.0, "lambda_p2": 0.08, "lambda_q2": 0.08}  # no L1
LIBMF = Model("LIBMF", "libmf", {"k": 40, "nr_iters": 60, "eta": 0.05} | PENALTY)
LIBMF_DEFAULT = Model("LIBMF, its defaults", "libmf", {})
LIBMF_FAST = [
    Model(f"LIBMF, fast, {k} factors, rate {eta}", "libmf", {**LIBMF.params, "k": k, "eta": eta})
    for k, eta in ((8, 0.1), (16, 0.1), (32, 0.1), (32, 0.2))
]
MYFM = Model("myFM MyFMRegressor", "myfm", {"rank": 10, "n_iter": 200})
MYFM_SVDPP = Model(
    "myFM MyFMRegressor, SVD++ terms", "myfm", {"rank": 10, "n_iter": 300, "svdpp": True}
)
# Settings of fastai's own guide to collaborative filtering on MovieLens 100K.
FASTAI_NN = Model(
    "fastai collab_learner(use_nn=True)",
    "fastai",
    {"layers": [100, 50], "n_epochs": 5, "lr": 5e-3, "wd": 0.1},
)
# Implicit feedback: every rating counts as a choice, whatever its value.
IMPLICIT_ALS = Model("implicit AlternatingLeastSquares", "implicit", {"factors": 64})

PEERS = [SURPRISE, SURPRISE_TUNED, CORNAC, CORNAC_60, CORNAC_60_SEEDED, LENSKIT, LIBMF, MYFM]
