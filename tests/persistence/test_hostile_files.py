"""Files whose checksum is right and whose content is not are refused with what does not fit."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import warnings

import example_models
import fuzz_model_files
import numpy as np
import pytest
from sklrec._persistence import files as _files, modules as _modules

import sklrec
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
            read[name] = read_tensor_file(folder / name, "model")
        document, arrays = copy.deepcopy(read[name])
        return document, arrays

    return get


LEARNED = "model.learned."
MODULE = LEARNED + "module_."
SEEN = LEARNED + "seen_."
PAST = LEARNED + "histories_."
KNOWN = LEARNED + "known_features_."
SIDES = LEARNED + "side_features_."


def with_first(value):
    def change(array):
        array.reshape(-1)[0] = value
        return array

    return change


def with_last(value):
    def change(array):
        array.reshape(-1)[-1] = value
        return array

    return change


CASES = [
    # the document
    ("sgd", "model.class", "os.system", "model.class should be one of 'MFRegressor', 'Dense"),
    ("sgd", "model.class", ["MFRegressor"], "model.class should be one of"),
    ("sgd", "model.class", "IDEncoder", "is not known|is missing"),
    ("sgd", "model.more", 1, "model.more is not known"),
    ("sgd", "model", None, "model should be a JSON object"),
    ("sgd", "versions.torch", 1, "versions.torch should be of type str, got int"),
    ("sgd", "versions", ..., "versions is missing"),
    # parameters and settings
    ("sgd", "model.parameters.n_factors", 10**12, None),
    ("sgd", "model.parameters.n_factors", -5, "The 'n_factors' parameter of MFRegressor must be"),
    ("sgd", "model.parameters.n_factors", 1.5, "The 'n_factors' parameter of MFRegressor must be"),
    ("sgd", "model.parameters.lr", ..., "model.parameters.lr is missing"),
    ("sgd", "model.parameters.lr2", 1, "model.parameters.lr2 is not known"),
    ("sgd", "model.parameters.callbacks", ["x"], "model.parameters.callbacks should be null"),
    ("sgd", "model.parameters.optimizer", {"optimizer": "os"}, "one of the optimizers of torch"),
    ("sgd", "model.parameters.device", {"device": "x"}, "[Ee]xpected one of cpu"),
    ("sgd", "model.parameters.verbose", {"call": "x"}, "a value is of the unknown kind 'call'"),
    ("sgd", "model.settings.output", "pandas", "output should be null for MFRegressor"),
    ("sgd", "model.settings.requests.fit", {"sample_weight": 1}, "should hold booleans, strings"),
    ("sgd", "model.settings.requests.fit", {"more": True}, "more"),
    (
        "array of strings",
        "model.parameters.random_state",
        {"random state": [625, 0, 0.0]},
        "random_state should have a position and a Gaussian",
    ),
    # what was learned of X
    ("sgd", LEARNED + "n_features_in_", 2**50, "feature_names_in_ should be 1125899906842624 str"),
    ("sgd", LEARNED + "n_features_in_", 4, "feature_names_in_ should be 4 strings"),
    ("sgd", LEARNED + "feature_names_in_", ["a", "b", 3], "should be 3 strings"),
    ("sgd", LEARNED + "feature_names_in_", None, "should have the columns of the estimator"),
    ("sgd", LEARNED + "rating_scale_", [5.0, 1.0], "should be the lowest and the highest"),
    ("sgd", LEARNED + "rating_scale_", [1, 5], "rating_scale_ should be two numbers"),
    ("sgd", LEARNED + "n_iter_", 3, "n_iter_ should be one of 2"),
    ("sgd", LEARNED + "alpha_", -1.0, "alpha_ should be a number from 0 to"),
    (
        "sgd",
        LEARNED + "encoder_.learned.column_indices_",
        [0, 0],
        "different positions from 0 to 2",
    ),
    (
        "sgd",
        LEARNED + "encoder_.learned.column_indices_",
        [0, 9],
        "different positions from 0 to 2",
    ),
    ("sgd", LEARNED + "encoder_.learned.column_indices_", [1, 0], "should be of column 'item'"),
    ("encoder", LEARNED + "column_indices_", [], "is not known|should name a column"),
    ("padder", LEARNED + "max_len_", 10**12, "max_len_ should be at most 16777216"),
    ("windower", "model.parameters.max_len", 10**12, "max_len should be at most 16777216"),
    ("sequences", LEARNED + "n_outputs_", 3, "n_outputs_ should be one of 1, 4"),
    ("sequences", LEARNED + "n_items_", 2**50, r"shape \(1125899906842625, any\), got \(9, 3\)"),
    ("sequence", LEARNED + "timestamp_index_", 0, "should be the position of a column without ID"),
    ("sequence", LEARNED + "timestamp_index_", None, "timestamp_kind_ should be one of None"),
    ("sequence", PAST + "timed", False, "times.* is not known|should have times if"),
    ("sequence", "model.parameters.input", "sequences", "n_items_ is missing"),
    # networks
    ("sgd", MODULE + "device", "meta", "device should be a device of torch, got 'meta'"),
    ("sgd", MODULE + "biased", False, "_biases' is not known"),
    ("sgd", LEARNED + "bayesian", True, "noise is missing among the arrays"),
    ("dense", MODULE + "n_hidden_layers", 10**15, "layers.6.weight is missing among the"),
    ("dense", MODULE + "n_bins", 10**12, r"should have the shape \(2, 1000000000001, 3\)"),
    ("dense", MODULE + "training", True, "training should be false"),
    ("dense", MODULE + "dropout", 7, "dropout should be a number from 0 to 1"),
    ("sequence", MODULE + "n_ratings", 0, "n_ratings should be at least 1"),
    ("sequence", MODULE + "n_ratings", True, "n_ratings should be of type int, got bool"),
    # side features
    ("dense", SIDES + "numeric.n_columns", 10**15, "n_columns should be at most 7"),
    ("dense", SIDES + "numeric.0.position", 0, "position should be that of a column of X that no"),
    ("dense", SIDES + "categorical.0.kind", "code", "kind should be one of"),
    ("dense", SIDES + "multi_valued.0.separator", "", "separator should be a string, and only of"),
    ("dense", SIDES + "multi_valued.0.is_multi_valued", False, "separator should|another kind"),
    ("dense", KNOWN + "side_of", [], "side_of should name each column of side features once"),
    # pipelines
    ("pipeline", "model.steps", [["a", "fitted"]], "is not known"),
    ("pipeline", "model.steps", [["a__b", "fitted"]], "should be at most 100 names"),
    ("pipeline", "model.steps", [["memory", "fitted"]], "other than those of parameters"),
    ("pipeline", "model.steps", [], "should be at most 100 names"),
    ("pipeline", "model.transform_input", [1], "transform_input should be strings"),
    # arrays
    (
        "sgd",
        MODULE + "user_factors.weight",
        ...,
        "user_factors.weight is missing among the arrays",
    ),
    ("sgd", MODULE + "user_factors.weight", lambda a: a[:-1], r"the shape \(\d+, any\), got"),
    ("sgd", MODULE + "item_factors.weight", lambda a: a[:, :2], r"the shape \(\d+, 3\), got"),
    ("sgd", MODULE + "user_factors.weight", lambda a: a.astype("f8"), "float32, got float64"),
    ("sgd", MODULE + "user_factors.weight", with_last(np.nan), "should hold numbers from -1e"),
    ("sgd", MODULE + "user_factors.weight", with_last(1e14), None),
    ("sgd", MODULE + "scale", with_first(0), "scale should be at least 1e-15"),
    ("sgd", MODULE + "more", np.zeros(2), "the array 'model.learned.module_.more' is not known"),
    ("sgd", LEARNED + "loss_curve_", lambda a: a[:1], "n_iter_ should be one of 1"),
    ("sgd", SEEN + "items", with_first(-1), "items should hold integers from 0 to"),
    ("sgd", SEEN + "items", with_last(10**6), "items should hold integers from 0 to"),
    ("sgd", SEEN + "items", lambda a: a[::-1].copy(), "each user's items in increasing order"),
    ("sgd", SEEN + "items", lambda a: a.astype("i8"), "starts should be of int64, got int32"),
    ("sgd", SEEN + "starts", with_first(1), "starts should rise from 0 to"),
    ("sgd", SEEN + "starts", with_last(2**31 - 1), "starts should rise from 0 to"),
    (
        "sgd",
        LEARNED + "encoder_.learned.vocabulary 0.ids.ids",
        with_first(8),
        "must be unique|sho",
    ),
    ("sgd", LEARNED + "encoder_.learned.vocabulary 0.ids.ids", lambda a: a[:0], "know a user and"),
    (
        "sgd implicit unbiased",
        MODULE + "user_terms",
        lambda a: a[:-1],
        "user_terms should have the",
    ),
    ("gibbs", MODULE + "noise", lambda a: a[:0], "noise should be that of at least one draw"),
    ("gibbs", MODULE + "noise", with_first(-1), "noise should not be negative"),
    ("gibbs", MODULE + "user_noise", with_first(-1), "user_noise should not be negative"),
    ("gibbs", MODULE + "user_covariances", with_first(-9), "positive semi-definite matrices"),
    ("gibbs", MODULE + "user_covariances", lambda a: a.cumsum(1).astype("f4"), "symmetric|semi"),
    ("gibbs", MODULE + "item_draws", lambda a: a[:2], r"should have the shape \(3, "),
    ("machine", MODULE + "item_values", with_first(99), "item_values should hold integers from"),
    ("machine", MODULE + "context_value_draws", lambda a: a[:, 1:], "should have the shape"),
    ("ordinal machine", MODULE + "stars", lambda a: a[::-1].copy(), "stars should rise"),
    ("ordinal machine", MODULE + "threshold_draws", lambda a: -a, "threshold_draws should rise"),
    ("dense", MODULE + "layers.0.weight", lambda a: a[:, 1:], r"should have the shape \(any, "),
    ("dense", MODULE + "user_factors.weight", with_last(9e14), "make ratings of more"),
    ("dense", MODULE + "layers.2.weight", lambda a: a[:0], "should have at least one unit"),
    ("dense", SIDES + "numeric.0.edges", lambda a: a[::-1].copy(), "finite numbers in increasing"),
    ("dense", SIDES + "categorical.0.codes", with_last(10**9), "codes 1 to .*, each once"),
    ("dense", KNOWN + "item.multi_valued", with_last(99), "multi_valued should hold integers"),
    ("dense", KNOWN + "user.numeric", with_last(np.inf), "numeric should be finite, or NaN where"),
    ("dense", KNOWN + "item.multi_valued", lambda a: a[:, :, :0], "should have room for a value"),
    (
        "machine",
        LEARNED + "side_blocks_.item.0.codes",
        with_last(10**9),
        "the values of column 'ge",
    ),
    ("sequence", MODULE + "lstm.weight_ih_l0", lambda a: a[:-1], "should have four gates"),
    ("sequence", MODULE + "backward_lstm.weight_ih_l0", lambda a: a[:4], "should have|3 hidden"),
    ("sequence", MODULE + "log_shrinkage", lambda a: a * 0 - 99, "should be from -50 to 50"),
    ("sequence", PAST + "items", with_first(99), "items should hold integers from 0 to"),
    ("sequence", PAST + "ratings", with_first(np.inf), "ratings should be finite, or NaN where"),
    (
        "sequence",
        PAST + "times",
        lambda a: a[::-1].copy(),
        "times should rise within each history",
    ),
    ("sequence", PAST + "starts", with_last(0), "starts should rise from 0 to 70"),
    ("windower", PAST + "items", with_first(-3), "items should hold integers from 0 to"),
]


def change(document, arrays, place, what):
    """Change what is at a place, if need be by a function; an ellipsis takes it away."""
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
    write_tensor_file(tmp_path / "model", "model", document, arrays)
    if problem is None:  # nothing of the model depends on it
        sklrec.load(tmp_path / "model")
        return
    with pytest.raises(ValueError, match=f"cannot be read as a model: .*({problem})"):
        sklrec.load(tmp_path / "model")


def test_what_libraries_make_of_content_is_an_error_of_the_file(files, tmp_path, monkeypatch):
    write_tensor_file(tmp_path / "model", "model", *files("sgd"))
    for kind in (TypeError, KeyError, IndexError, OverflowError, RuntimeError, RecursionError):

        def fail(*_, kind=kind):
            raise kind("odd")

        monkeypatch.setattr(_files, "read_estimator", fail)
        with pytest.raises(
            ValueError, match=r"cannot be read as a model: '?odd'?\. It is no such"
        ):
            sklrec.load(tmp_path / "model")


FUZZED = ["gibbs implicit", "dense", "sequence", "ordinal machine", "pipeline", "windower"]


def test_altered_files_are_refused_or_work(monkeypatch):
    some = {name: example_models.BUILDERS[name] for name in FUZZED}
    monkeypatch.setattr(example_models, "BUILDERS", some)
    counts, failures = fuzz_model_files.run(120, seed=0)
    assert not failures, failures[0]
    assert counts["opened"] > 5
    assert counts["refused"] > 60


def test_the_fuzzer_notices_numbers_that_are_not_finite(monkeypatch):
    monkeypatch.setattr(example_models, "BUILDERS", {"sgd": example_models.BUILDERS["sgd"]})
    monkeypatch.setattr(_modules, "check_size", lambda *_: None)
    monkeypatch.setattr(_modules.ModuleReader, "refuse_overflow", lambda *_: None)
    _, failures = fuzz_model_files.run(60, seed=5)
    assert any("numbers that are not finite" in failure for failure in failures)


def test_the_fuzzer_notices_what_a_load_must_not_do(tmp_path):
    with fuzz_model_files._watching() as found:
        fuzz_model_files._audit("open", (str(tmp_path), "rb", 0))
        assert not found
        fuzz_model_files._audit("open", (str(tmp_path), "wb", fuzz_model_files.os.O_WRONLY))
        fuzz_model_files._audit("subprocess.Popen", ("sh",))
    fuzz_model_files._audit("subprocess.Popen", ("sh",))
    assert [event.split()[0] for event in found] == ["open", "subprocess.Popen"]
