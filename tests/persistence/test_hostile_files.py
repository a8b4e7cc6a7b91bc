"""Files with a correct checksum and wrong content are refused, and the message says why."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
import warnings

import example_models
import fuzz_model_files
import joblib
import numpy as np
import pandas as pd
import pytest
import torch

import sklrec
from sklrec._persistence import files as _files
from sklrec._utils.tensor_file import read_tensor_file, write_tensor_file


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Give documents and arrays of saved models."""
    folder, read = tmp_path_factory.mktemp("files"), {}

    def get(name):
        if name not in read:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                sklrec.save(example_models.BUILDERS[name]()[0], folder / name)
            read[name] = read_tensor_file(folder / name)
        document, arrays = copy.deepcopy(read[name])
        return document, arrays

    return get


LEARNED = "model/learned/"
ARGUMENTS = LEARNED + "module_/arguments/"
TENSORS = LEARNED + "module_/tensors/"
SEEN = LEARNED + "seen_/"
PAST = LEARNED + "histories_/"
KNOWN = LEARNED + "known_features_/"
SIDE = LEARNED + "side_features_/columns/"
PARAMETERS = "model/parameters/"
USERS = TENSORS + "user_factors.weight"
ENCODER = LEARNED + "encoder_/learned/"
IDS = ENCODER + "vocabularies_/0/_ids/ids"


def set_first(value):
    return lambda array: np.put(array, 0, value) or array


def set_last(value):
    return lambda array: np.put(array, -1, value) or array


def without_last(array):
    return array[:-1]


# A model, the place of a change, the new value, and the error. An ellipsis removes the place.
CASES = [
    # the document
    ("mf", "model/class", "os.system", "class is 'os.system', which is no imported class"),
    ("mf", "model/class", [], r"class is \[\], which is no imported class"),
    ("mf", "model/class", "sklrec.IDEncoder", "is not known|is missing"),
    ("mf", "model/more", 1, "model.more is not known"),
    ("mf", "model", None, "not subscriptable"),
    ("padder", "model", None, "model should be a JSON object"),
    ("mf", "versions", ..., "should hold versions and a model"),
    # parameters and settings
    ("mf", PARAMETERS + "n_factors", 10**12, None),
    ("mf", PARAMETERS + "n_factors", 1.5, "The 'n_factors' parameter of MFRegressor must be"),
    ("mf", PARAMETERS + "lr", ..., "model.parameters.lr is missing"),
    ("mf", PARAMETERS + "lr2", 1, "model.parameters.lr2 is not known"),
    ("mf", PARAMETERS + "callbacks", ["x"], "model.parameters.callbacks is not known"),
    ("mf", PARAMETERS + "optimizer", {"class": "os"}, "'os', which is code"),
    ("mf", PARAMETERS + "device", {"device": "x"}, "[Ee]xpected one of cpu"),
    ("mf", PARAMETERS + "verbose", {"call": "x"}, "a value is of the unknown kind 'call'"),
    ("mf", PARAMETERS + "verbose", {"estimator": {}}, "verbose.class is missing"),
    *(
        ("mf", PARAMETERS + "random_state", {"random state": [keys, *rest]}, problem)
        for keys, *rest, problem in [
            ([0] * 624, 625, 0, 0.0, "624 keys and the position of one"),
            ([1] * 624, -1, 0, 0.0, "624 keys and the position of one"),
            ([1] * 624, 0.5, 0, 0.0, "624 keys and the position of one"),
            ([1] * 623, 3, 0, 0.0, "624 keys and the position of one"),
            ([1] * 623 + [2**32], 3, 0, 0.0, "624 keys and the position of one"),
            ([1] * 623 + [True], 3, 0, 0.0, "624 keys and the position of one"),
            ("1" * 624, 3, 0, 0.0, "624 keys and the position of one"),
            ([7] + [0] * 623, 3, 0, 0.0, "keys of a random state are all 0"),  # would never end
            ([1] * 624, 3, 2, 0.0, "0 or 1 normal number"),
            ([1] * 624, 3, 1, "0", "0 or 1 normal number"),
        ]
    ),
    ("mf", "model/settings/output", "os", "output should be one of None, 'default', 'pandas'"),
    ("mf", "model/settings/requests", {"fit": {"more": True}}, "more"),
    ("mf", "model/settings/requests", {"params": {}}, "set_params_request"),
    # columns of X
    ("mf", LEARNED + "n_features_in_", 2**50, "should be a list of length 1125899906842624"),
    ("mf", LEARNED + "n_features_in_", 10**400, "int too large"),
    ("mf", LEARNED + "feature_names_in_", ["a", "b", 3], "2 should be of type str, got int"),
    ("mf", LEARNED + "rating_scale_", [1, 5], "rating_scale_ should be of float64, got int64"),
    ("mf", LEARNED + "rating_statistics_/weight", 0.0, "should be finite, at least 5e-324"),
    ("mf", LEARNED + "penalties_/loss", -1.0, "loss should be finite, at least 0"),
    ("mf", LEARNED + "n_iter_", 3, "n_iter_ should be 2, got 3"),
    ("mf", ENCODER + "column_indices_", [0, 9], "1 should be finite, at least 0 and below 3"),
    ("mf", ENCODER + "column_indices_", [0], "vocabularies_ should be a list of length 1"),
    ("padder", LEARNED + "max_len_", 10**12, "max_len_ should be finite.* below 131073"),
    ("windower", PARAMETERS + "max_len", 10**12, "max_len should be at most 131072"),
    ("windower", LEARNED + "column_indices_", [0], "should have times if there is a column of t"),
    ("padded", LEARNED + "n_outputs_", 3, "n_outputs_ should be one of 1, 4"),
    ("sequence", LEARNED + "timestamp_index_", 9, "timestamp_index_ .* below 3"),
    ("sequence", PARAMETERS + "input", "sequences", "is not known"),
    # networks
    ("mf", LEARNED + "module_/device", "meta", "should be a device of torch, got 'meta'"),
    ("mf", ARGUMENTS + "n_users", 11, "should have n_users 12, got 11"),
    ("mf", ARGUMENTS + "biased", False, "_biases is not known"),
    ("dense", ARGUMENTS + "dropout", 7.0, "dropout probability has to be between 0 and 1"),
    ("dense", ARGUMENTS + "hidden_layer_sizes", [1] * 9999, "should be a list of length range"),
    ("dense", ARGUMENTS + "n_bins", 17, "should have n_bins 16, got 17"),
    ("sequence", ARGUMENTS + "bidirectional", 1, "bidirectional should be of type bool, got int"),
    ("sequence", LEARNED + "module_/class", "LSTM", "class should be one of 'LSTMRating', 'Resid"),
    ("padded", ARGUMENTS + "n_ratings", True, "n_ratings should be of type int, got bool"),
    ("bayesian sides", ARGUMENTS + "n_user_values", [], "should have n_user_values"),
    ("bayesian", ARGUMENTS + "n_factors", 10**12, "Overflow when unpacking.*[^)]\\. It is not"),
    # side features
    ("dense", SIDE + "0/position", 7, "position should be finite, at least 0 and below 7"),
    ("dense", SIDE + "1/kind", "code", "kind should be one of"),
    ("dense", SIDE + "1/class", "code", "class should be one of"),
    ("dense", KNOWN + "sides", [], "sides should be a list of length 5"),
    ("dense", KNOWN + "names", ["a"] * 5, "known features have other columns"),
    # pipelines
    ("pipeline", PARAMETERS + "steps/0/tuple/0", "a__b", "must not contain __"),
    ("pipeline", PARAMETERS + "steps/1/tuple/1", "eval", "should be|implement"),
    ("pipeline", PARAMETERS + "memory", "cache", "with memory='cache'"),
    # arrays
    ("mf", USERS, ..., "user_factors.weight is missing"),
    ("mf", USERS, without_last, r"the shape \(13, 3\), got \(12, 3\)"),
    ("mf", USERS, lambda a: a.astype("f8"), "should be of float32, got float64"),
    ("mf", USERS, set_last(np.nan), None),
    ("mf", TENSORS + "item_factors.weight", lambda a: a[:, :2], r"the shape \(.*, 3\), got"),
    ("mf", TENSORS + "item_factors.weight", lambda a: a[0], "should have the shape"),
    ("mf", TENSORS + "more", np.zeros(2), "module_.tensors.more is not known"),
    ("mf", "more", np.zeros(2), "should hold versions and a model"),
    ("mf", "model/class/more", np.zeros(2), "the array 'model/class/more' is not known"),
    ("mf", LEARNED + "n_iter_", np.zeros(2), "the array 'model/learned/n_iter_' is not known"),
    ("mf", SEEN + "items", set_first(-1), "items should hold integers from 0 to"),
    ("mf", SEEN + "starts", set_first(1), "starts should rise from 0 to"),
    ("mf", SEEN + "starts", lambda a: np.put(a, 1, 10**6) or a, "starts should rise from 0 to"),
    ("mf", IDS, set_first(8), "must be unique|should"),
    ("mf", IDS, lambda a: a[:0], "starts should have the shape"),
    ("mf svdpp", ARGUMENTS + "biased", True, "tensors.(user|item)_biases is missing"),
    ("bayesian", TENSORS + "user_covariances", without_last, r"should have the shape"),
    ("bayesian svdpp", TENSORS + "item_terms", without_last, r"should have the shape"),
    ("bayesian sides", TENSORS + "item_values", set_first(99), "should hold integers from"),
    ("bayesian sides", TENSORS + "item_weights", lambda a: a[:, 1:], "should have the shape"),
    ("bayesian sides", TENSORS + "context_biases", without_last, "should have the shape"),
    ("bayesian ordinal", TENSORS + "thresholds", without_last, "should have the shape"),
    ("biases", TENSORS + "user_biases", without_last, r"should have the shape \(14\)"),
    ("biases", TENSORS + "item_weights", lambda a: a.astype("f4"), "should be of float64, got"),
    ("dense", TENSORS + "layers.0.weight", lambda a: a[:, 1:], r"should have the shape \(4, "),
    ("dense", TENSORS + "layers.4.weight", ..., "layers.4.weight is missing"),
    ("dense", SIDE + "0/edges", lambda a: np.arange(99.0), "should have the shape"),
    ("dense", SIDE + "2/codes", set_last(10**9), "should have codes from 0 to"),
    ("dense", KNOWN + "tables/item/multi_valued", set_last(99), "should hold integers from 0"),
    ("dense", KNOWN + "tables/user/numeric", without_last, "numeric should have the shape"),
    ("sequence", TENSORS + "lstm.weight_ih_l0", without_last, "should have the shape"),
    ("sequence of one LSTM", TENSORS + "n_lookups", without_last, "should have the shape"),
    ("sequence", TENSORS + "backward_lstm.bias_ih_l0", lambda a: a[:4], "should have the shape"),
    ("sequence", PAST + "items", set_first(99), "items should hold integers from 0 to"),
    ("sequence", PAST + "ratings", without_last, "ratings should have the shape"),
    ("sequence", PAST + "starts", set_last(0), "starts should rise from 0 to 70"),
    ("sequence", PAST + "given_times", lambda a: a[::-1].copy(), "times should rise within each"),
]


def change(document, arrays, place, what):
    """Change a place of the document or of the arrays."""
    where, name = arrays, place
    if place not in arrays and not isinstance(what, np.ndarray):
        *path, name = place.split("/")
        where = document
        for step in path:
            where = where[int(step) if isinstance(where, list) else step]
        name = int(name) if isinstance(where, list) else name
    if what is ...:
        del where[name]
    else:
        where[name] = what(where[name]) if callable(what) else what


@pytest.mark.parametrize(("name", "place", "what", "problem"), CASES)
def test_content_that_does_not_fit_is_refused(files, tmp_path, name, place, what, problem):
    document, arrays = files(name)
    change(document, arrays, place, what)
    write_tensor_file(tmp_path / "model", document, arrays)
    if problem is None:
        sklrec.load(tmp_path / "model")
        return
    with pytest.raises(ValueError, match=f"cannot be read as a model: .*({problem})"):
        sklrec.load(tmp_path / "model")


@pytest.mark.parametrize(
    "error", [TypeError("odd"), KeyError("odd"), OverflowError("odd"), RecursionError("odd")]
)
def test_errors_of_libraries_become_errors_of_the_file(files, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    write_tensor_file(tmp_path / "model", *files("mf"))
    monkeypatch.setattr(_files, "unpack_estimator", fail)
    with pytest.raises(
        ValueError, match=r"cannot be read as a model: '?odd'?\. It is not a model"
    ):
        sklrec.load(tmp_path / "model")


FUZZED = [
    "bayesian svdpp",
    "bayesian sides",
    "dense",
    "sequence",
    "bayesian ordinal",
    "pipeline",
    "windower",
]


def test_altered_files_are_refused_or_work(monkeypatch):
    some = {name: example_models.BUILDERS[name] for name in FUZZED}
    monkeypatch.setattr(example_models, "BUILDERS", some)
    counts, failures = fuzz_model_files.run(120, seed=0)
    assert not failures, failures[0]
    assert counts["opened"] > 5
    assert counts["refused"] > 60


def test_the_fuzzer_notices_events_that_a_load_must_not_cause(tmp_path):
    with fuzz_model_files._watching() as found:
        fuzz_model_files._audit("open", (str(tmp_path), "rb", 0))
        assert not found
        fuzz_model_files._audit("open", (str(tmp_path), "wb", fuzz_model_files.os.O_WRONLY))
        fuzz_model_files._audit("subprocess.Popen", ("sh",))
    fuzz_model_files._audit("subprocess.Popen", ("sh",))
    assert [event.split()[0] for event in found] == ["open", "subprocess.Popen"]


TABLE = pd.DataFrame({"user": [1, 2], "item": [3, 4]})


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: path.write_bytes(pickle.dumps({"a": 1})),
            "a pickle, such as pickle.dump.*function that matches the one that wrote it",
        ),
        (lambda path: joblib.dump({"a": 1}, path), "a pickle, such as pickle.dump or joblib.dump"),
        *(
            (
                lambda path, method=method: joblib.dump({"a": 1}, path, compress=(method, 3)),
                "a compressed file, such as joblib.dump.*function that matches",
            )
            for method in ("zlib", "gzip", "bz2", "lzma", "xz")
        ),
        (lambda path: torch.save({"a": torch.ones(2)}, path), "a zip archive, such as torch"),
        (lambda path: np.save(path.open("wb"), np.ones(2)), "an array .*with numpy.load"),
        (lambda path: TABLE.to_csv(path), "a table as text, such as a CSV file.*with pandas"),
        (lambda path: TABLE.to_parquet(path), "a Parquet file.*with pandas"),
        (lambda path: TABLE.to_json(path), "a JSON file.*with json.load"),
        (lambda path: path.write_text("<!DOCTYPE html>"), "a page in HTML.*failed download"),
        (lambda path: path.write_text("version https://git-lfs."), "a pointer .*git lfs pull"),
        (lambda path: path.write_text("読む " * 500, "utf-8"), "a text file.*a text editor"),
    ],
)
def test_other_files_are_named(tmp_path, write, message):
    write(tmp_path / "model")
    message = rf"seems to be {message}"
    with pytest.raises(ValueError, match=message):
        sklrec.load(tmp_path / "model")
    with pytest.raises(ValueError, match=r"not a model file. .*load reads the files of .*save"):
        sklrec.load(tmp_path / "model")
