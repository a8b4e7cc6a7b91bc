"""Types of the public functions, as mypy reports them for a user's script."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
START = """
import numpy as np, pandas as pd, torch
import sklrec
from sklrec.datasets import make_ratings
X, y = make_ratings(60, 40, 900, random_state=0)
mf = sklrec.MFRegressor(n_factors=8, alpha=0.1, optimizer=torch.optim.Adam)
mf = mf.fit(X, y, X_val=X, y_val=y)
bayes = sklrec.BayesianMFRegressor(side_features=["genre"], n_iter=np.int64(5)).fit(X, list(y))
"""
RIGHT = """
ratings: np.ndarray = mf.predict(X)
lists: pd.DataFrame = mf.recommend([1, 2], n_items=5, exclude_seen=False)
everyone: pd.DataFrame = bayes.recommend(exclude={1: [2]}, candidates=lists, n_std=1)
new: pd.DataFrame = bayes.recommend_for(X, y, 3)
parts: pd.DataFrame = bayes.explain([1], [2])
events = sklrec.ImplicitMFRecommender(n_factors=8, confidence="log").fit(X, y)
newcomers: pd.DataFrame = events.recommend_for(X, n_items=3, exclude=lists)
positives: pd.DataFrame = events.explain(X["user"], X["item"])
similar: pd.DataFrame = mf.similar_items(X["item"].unique(), 3, metric="dot")
means, std = bayes.predict(X, return_std=True)
plain: np.ndarray = bayes.predict(X)
more: sklrec.MFRegressor = mf.partial_fit(X, y.to_numpy())
sequence = sklrec.SequenceRatingRegressor("auto", timestamp=None, loss="quantile", quantile=0.9)
codes = sklrec.IDEncoder(columns=["user", "item"], min_frequency=0.1).fit(X).transform(X)
sklrec.save(more, "model.sklrec")
loaded = sklrec.load("model.sklrec", custom_objects={"Net": torch.nn.Linear})
network = sklrec.ModuleRecRegressor(torch.nn.Linear, lr=0.1, module__size=3)
"""
WRONG = {
    'sklrec.MFRegressor(n_factors="ten")': '"n_factors" to "MFRegressor" has incompatible type',
    "sklrec.DenseRecRegressor(hidden_layers=(8,))": 'Unexpected keyword argument "hidden_layers"',
    'sklrec.SequenceRatingRegressor(input="sequence")': "expected .*'interactions', 'sequences'",
    'sklrec.BayesianMFRegressor(loss="huber")': "expected .*'squared_error', 'ordinal'",
    "sklrec.BiasRegressor(user_penalty=[1])": '"user_penalty" to "BiasRegressor" has incompat',
    'sklrec.SequenceWindower(max_len="3")': '"max_len" to "SequenceWindower" has incompatible',
    "mf.fit(X, y, eval_set=(X, y))": 'Unexpected keyword argument "eval_set" for "fit"',
    "mf.predict(X, return_std=True)": 'Unexpected keyword argument "return_std" for "predict"',
    "mf.recommend(1)": 'Argument 1 to "recommend" .*; expected "IDList | None"',
    'mf.recommend([1], n_items="5")': '"n_items" to "recommend" .* has incompatible type "str"',
    'mf.similar_items([1], metric="cos")': "expected .*'cosine', 'dot'",
    "bayes.predict(X, True)": 'No overload variant of "predict"',
    "bayes.predict(X, return_std=True).mean()": '"tuple.*" has no attribute "mean"',
    "sklrec.save(mf)": 'Missing positional argument "path" in call to "save"',
    "sklrec.load(3)": 'Argument 1 to "load" has incompatible type "int"',
}


def test_types_tell_right_calls_from_wrong_ones(tmp_path):
    script = START.strip() + RIGHT + "\n".join(WRONG)
    path = tmp_path / "script.py"
    path.write_text(script)
    # With the cache that a check of the package leaves, this takes some seconds.
    options = ["--config-file", "setup.cfg", "--no-error-summary", "--hide-error-context"]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(path)],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    errors = dict(re.findall(r"script\.py:(\d+): error: (.*)", found.stdout))
    lines = script.splitlines()
    assert [lines[int(number) - 1] for number in errors] == list(WRONG), found.stdout
    for text, message in zip(WRONG.values(), errors.values(), strict=True):
        assert re.search(text, message), message
