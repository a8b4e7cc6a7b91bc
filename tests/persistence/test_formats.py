"""Files of every version of the format that there was are read today."""
# SPDX-License-Identifier: BSD-3-Clause

import json
from pathlib import Path

import example_models
import numpy as np
import pytest
import safetensors

import sklrec
from sklrec._utils import tensor_file as _tensor_file

DATA = Path(__file__).parent / "data"
STORED = sorted(DATA.glob("*.sklrec"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_files_are_read_and_predict_what_they_did(path):
    estimator = sklrec.load(path)
    wanted = json.loads(path.with_suffix(".json").read_text())
    X = example_models.ROWS[wanted["rows"]]()[:20]
    if hasattr(estimator, "predict"):
        np.testing.assert_allclose(estimator.predict(X), wanted["result"], rtol=1e-5)
    else:
        assert np.asarray(estimator.transform(X)).tolist() == wanted["result"]


def test_there_is_a_file_of_each_version_and_estimator():
    found = set()
    for path in STORED:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
        model = json.loads(metadata["document"])["model"]
        found.add((int(metadata["version"]), model["class"]))
    kinds = {
        *("MFRegressor", "DenseRecRegressor", "SequenceRatingRegressor", "BayesianFMRegressor"),
        *("SequenceWindower", "Pipeline"),
    }
    versions = range(1, _tensor_file.FORMAT + 1)
    assert {(version, kind) for version in versions for kind in kinds} <= found
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 100_000


def test_a_newer_format_is_refused_with_what_to_do(tmp_path, monkeypatch):
    X, y = example_models.log()
    monkeypatch.setattr(_tensor_file, "FORMAT", 2)
    sklrec.save(sklrec.MFRegressor(2, max_epochs=1).fit(X, y), tmp_path / "model")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"version 2 of the format.*up to 1\. Update sklrec\."):
        sklrec.load(tmp_path / "model")
