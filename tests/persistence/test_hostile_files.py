"""Files with a correct checksum and wrong content are refused, and the message says why."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import warnings

import example_models
import fuzz_model_files
import numpy as np
import pytest

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


LEARNED = "model.learned."
MODULE = LEARNED + "module_."
SEEN = LEARNED + "seen_."
PAST = LEARNED + "histories_."
KNOWN = LEARNED + "known_features_."
SIDE = LEARNED + "side_features_."
PARAMETERS = "model.parameters."
USERS = MODULE + "user_factors.weight"
COLUMNS = LEARNED + "encoder_.learned.column_indices_"
VOCABULARY = LEARNED + "encoder_.learned.vocabulary 0."


def set_first(value):
    return lambda array: np.put(array, 0, value) or array


def set_last(value):
    return lambda array: np.put(array, -1, value) or array


def without_last(array):
    return array[:-1]


# A model, the place of a change, the new value, and the error. An ellipsis removes the place.
CASES = [
    # the document
    ("mf", "model.class", "os.system", "model.class should be one of 'MFRegressor', 'Dense"),
    ("mf", "model.class", "IDEncoder", "is not known|is missing"),
    ("mf", "model.more", 1, "model.more is not known"),
    ("mf", "model", None, "model should be a JSON object"),
    ("mf", "versions", 1, "versions should be of type dict, got int"),
    ("mf", "versions", ..., "versions is missing"),
    # parameters and settings
    ("mf", PARAMETERS + "n_factors", 10**12, None),
    ("mf", PARAMETERS + "n_factors", 1.5, "The 'n_factors' parameter of MFRegressor must be"),
    ("mf", PARAMETERS + "lr", ..., "model.parameters.lr is missing"),
    ("mf", PARAMETERS + "lr2", 1, "model.parameters.lr2 is not known"),
    ("mf", PARAMETERS + "callbacks", ["x"], "model.parameters.callbacks is not known"),
    ("mf", PARAMETERS + "optimizer", {"optimizer": "os"}, "'os'"),
    ("mf", PARAMETERS + "device", {"device": "x"}, "[Ee]xpected one of cpu"),
    ("mf", PARAMETERS + "verbose", {"call": "x"}, "a value is of the unknown kind 'call'"),
    ("mf", PARAMETERS + "random_state", {"random state": [[0] * 624, 625, 0, 0.0]}, "624 keys"),
    ("mf", "model.settings.output", "os", "output should be one of None, 'default', 'pandas'"),
    ("mf", "model.settings.requests.fit", {"more": True}, "more"),
    # columns of X
    ("mf", LEARNED + "n_features_in_", 2**50, "feature_names_in_ should be 1125899906842624 str"),
    ("mf", LEARNED + "feature_names_in_", ["a", "b", 3], "should be a list of str"),
    ("mf", LEARNED + "rating_scale_", [1, 5], "rating_scale_ should be a list of float"),
    ("mf", LEARNED + "rating_scale_", [1.0], "index out of range"),
    ("mf", COLUMNS, [0, 9], "should be positions from 0 to 2"),
    ("mf", COLUMNS, [0], "should have IDs of users and of items"),
    ("encoder", LEARNED + "column_indices_", [], "should be positions from 0 to"),
    ("padder", LEARNED + "max_len_", 10**12, "max_len_ should be from 0 to 16777216"),
    ("windower", PARAMETERS + "max_len", 10**12, "max_len should be at most 16777216"),
    ("padded", LEARNED + "n_outputs_", 3, "n_outputs_ should be one of 1, 4"),
    ("padded", LEARNED + "n_items_", 2**50, r"shape \(1125899906842625\), got \(9,\)"),
    ("sequence", LEARNED + "timestamp_index_", 9, "should be the position of a column"),
    ("sequence", PARAMETERS + "input", "sequences", "n_items_ is missing"),
    # networks
    ("mf", MODULE + "device", "meta", "device should be a device of torch, got 'meta'"),
    ("mf", MODULE + "biased", False, "_biases' is not known"),
    ("dense", MODULE + "dropout", 7.0, "dropout probability has to be between 0 and 1"),
    ("sequence", MODULE + "bidirectional", 1, "bidirectional should be of type bool, got int"),
    ("padded", MODULE + "n_ratings", True, "n_ratings should be of type int, got bool"),
    # side features
    ("dense", SIDE + "n_columns", 10**15, "n_columns should be from 0 to 7"),
    ("dense", SIDE + "0.position", 7, "position should be from 0 to 6"),
    ("dense", SIDE + "1.kind", "code", "kind should be one of"),
    ("dense", SIDE + "1.type", "code", "type should be one of"),
    ("dense", KNOWN + "side_of", [], "side_of should give each column one of user, item, context"),
    # pipelines
    ("pipeline", "model.steps", [["a__b", "fitted"]], "must not contain __"),
    ("pipeline", "model.steps", [["a", "eval"]], "should have null, 'passthrough' or 'fitted'"),
    ("pipeline", "model.steps", [["a"]], "not enough values to unpack"),
    # arrays
    ("mf", USERS, ..., "user_factors.weight is missing among the arrays"),
    ("mf", USERS, without_last, r"the shape \(13, 3\), got \(12, 3\)"),
    ("mf", USERS, lambda a: a.astype("f8"), "should be of float32, got float64"),
    ("mf", USERS, set_last(np.nan), None),
    ("mf", MODULE + "item_factors.weight", lambda a: a[:, :2], r"the shape \(13, 2\), got"),
    ("mf", MODULE + "item_factors.weight", lambda a: a[0], "fewer than 2 axes"),
    ("mf", MODULE + "more", np.zeros(2), "the array 'model.learned.module_.more' is not known"),
    ("mf", SEEN + "items", set_first(-1), "items should hold integers from 0 to"),
    ("mf", SEEN + "starts", set_first(1), "starts should rise from 0 to"),
    ("mf", SEEN + "starts", lambda a: np.put(a, 1, 10**6) or a, "starts should rise from 0 to"),
    ("mf", VOCABULARY + "ids.ids", set_first(8), "must be unique|should"),
    ("mf", VOCABULARY + "ids.ids", lambda a: a[:0], "starts should have the shape"),
    ("mf svdpp", MODULE + "biased", True, "user_biases is missing among the arrays"),
    ("bayesian", MODULE + "user_covariances", without_last, r"should have the shape"),
    ("bayesian svdpp", MODULE + "item_terms", without_last, r"should have the shape"),
    (
        "bayesian sides",
        MODULE + "item_values",
        set_first(99),
        "item_values should hold integers from",
    ),
    (
        "bayesian sides",
        MODULE + "context_biases",
        without_last,
        "should have the shape",
    ),
    ("bayesian ordinal", MODULE + "thresholds", without_last, "should have the shape"),
    ("biases", MODULE + "user_biases", without_last, r"should have the shape \(14\)"),
    ("biases", MODULE + "item_weights", lambda a: a.astype("f4"), "should be of float64, got"),
    ("dense", MODULE + "layers.0.weight", lambda a: a[:, 1:], r"should have the shape \(any, "),
    ("dense", MODULE + "layers.4.weight", ..., "should end in a layer of one unit"),
    ("dense", SIDE + "0.edges", lambda a: np.arange(99.0), "should have at most 16 bins a column"),
    ("dense", SIDE + "2.codes", set_last(10**9), "should have codes from 0 to"),
    ("dense", KNOWN + "item.multi_valued", set_last(99), "multi_valued should hold integers"),
    ("dense", KNOWN + "user.numeric", without_last, "numeric should have the shape"),
    ("sequence", MODULE + "lstm.weight_ih_l0", without_last, "should have the shape"),
    ("sequence", MODULE + "backward_lstm.bias_ih_l0", lambda a: a[:4], "should have the shape"),
    ("sequence", PAST + "items", set_first(99), "items should hold integers from 0 to"),
    ("sequence", PAST + "ratings", without_last, "ratings should have the shape"),
    ("sequence", PAST + "starts", set_last(0), "starts should rise from 0 to 70"),
]


def change(document, arrays, place, what):
    """Change a place of the document or of the arrays."""
    where, name = arrays, place
    if place not in arrays and not isinstance(what, np.ndarray):
        where, name = document, place
        for step in place.split(".")[:-1]:
            where = where[step]
        name = place.split(".")[-1]
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
    def fail(*_):
        raise error

    write_tensor_file(tmp_path / "model", *files("mf"))
    monkeypatch.setattr(_files, "read_estimator", fail)
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
