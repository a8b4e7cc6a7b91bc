"""Cornac's `MF`."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from cornac.data import Dataset
from cornac.models import MF

from benchmarks._measure import THREADS
from benchmarks.peers._serve import serve


def pairs(users, items):
    return users.tolist(), items.tolist()


def build(users, items, ratings, scale):
    return Dataset.from_uir(
        zip(users.tolist(), items.tolist(), ratings.tolist(), strict=True), seed=0
    )


def fit(trainset, **params):
    # MF's own `seed` means one thread; without it, it draws from numpy's global generator.
    np.random.seed(0)  # noqa: NPY002
    return MF(num_threads=THREADS, **params).fit(trainset)


def predict(model, asked):
    users, items = model.uid_map, model.iid_map
    return [
        model.rate(users.get(user, model.num_users), items.get(item, model.num_items))
        for user, item in zip(*asked, strict=True)
    ]


if __name__ == "__main__":
    serve(build, fit, predict, pairs)
