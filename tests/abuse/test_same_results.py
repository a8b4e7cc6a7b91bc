"""Fits do not depend on hash seeds, the order of equal rows, threads and types of tables."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fitted_models import ESTIMATORS, X, Y

from sklrec import MFRegressor

# Largest difference of predictions between one and two threads, which add in another order. The
# ratings have a standard deviation of about 1.
THREADS_TOLERANCE = 1e-5

# Prints what all estimators predict, as another process with another hash seed does.
FITS = """
import sys
import warnings
sys.path.append(sys.argv[1])
import torch
torch.set_num_threads(1)
from test_same_results import all_results
warnings.simplefilter("ignore")
sys.stdout.write(all_results())
"""


def all_results():
    """What all estimators predict and recommend, fitted to strings, tuples and sets."""
    ids = X.assign(user="u" + X["user"].astype(str), item=[(k, "i") for k in X["item"]])
    rows = ids.assign(tags=[{f"tag {n}" for n in range(k % 7)} for k in X["item"]])
    found = []
    for name, make in ESTIMATORS.items():
        model = make().fit(rows, Y)
        found += [name, model.predict(rows).tobytes().hex()[:4000]]
        found.append(model.recommend(["u1", "u2", "?"], n_items=3).to_csv())
    return "\n".join(found)


@pytest.mark.filterwarnings("ignore")
def test_hash_seeds():
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"  # mostly, ours is random
    here = str(Path(__file__).parent)
    child = subprocess.run(
        [sys.executable, "-c", FITS, here],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(here).parents[1],
        env=os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
    )
    assert child.stdout == all_results()


@pytest.mark.parametrize("name", ["bias", "bayesian sides", "dense", "lstm"])  # ways of reading
@pytest.mark.parametrize("kind", [int, str])
def test_types_of_tables(name, kind):
    ids = X[["user", "item"]].astype(kind)
    tables = [ids, ids.to_numpy(), ids.to_numpy(dtype=object), ids.to_numpy().tolist()]
    if kind is int:
        tables += [ids.to_numpy(dtype=np.uint8), ids.astype("Int64"), np.asfortranarray(ids)]
    else:
        tables += [ids.astype("string[python]"), ids.astype("category"), ids.to_numpy(dtype="U5")]
    found = [ESTIMATORS[name]().fit(table, Y).predict(table) for table in tables]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def assert_same_with_two_threads(model, X, y):
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            found.append(model.fit(X, y).predict(X))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(*found, rtol=0, atol=THREADS_TOLERANCE)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_number_of_threads(name, monkeypatch):
    name_of_limit = "sklrec._utils.runtime.VALUES_PER_THREAD"
    monkeypatch.setattr(name_of_limit, 1)  # use two threads for little data
    assert_same_with_two_threads(ESTIMATORS[name](), X, Y)


def test_number_of_threads_with_large_sums():
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.integers(0, 500, 20_000), rng.integers(0, 300, 20_000)])
    model = MFRegressor(64, max_epochs=2, batch_size=20_000, random_state=0)
    assert_same_with_two_threads(model, table, rng.integers(1, 6, 20_000).astype(float))
