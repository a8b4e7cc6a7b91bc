"""Model files of networks of users: what load needs, and altered files."""
# SPDX-License-Identifier: BSD-3-Clause

import copy

import numpy as np
import pytest
from networks import Factors, Layers

import sklrec
from sklrec import ModuleRecRegressor
from sklrec._utils.tensor_file import read_tensor_file, write_tensor_file
from sklrec.datasets import make_ratings
from sklrec.preprocessing import IDEncoder

X, Y = make_ratings(12, 9, 70, random_state=0)
IDS = X[["user", "item"]]
MODULE = "model/learned/module_/"
TENSORS = MODULE + "tensors/"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = ModuleRecRegressor(Factors, module__n_factors=3, max_epochs=2, random_state=0)
    path = tmp_path_factory.mktemp("files") / "model"
    sklrec.save(model.fit(IDS, Y), path)
    return path, model


def test_a_file_needs_the_class_by_its_name(saved):
    path, model = saved
    loaded = sklrec.load(path, custom_objects={"Factors": Factors, "Layers": Layers})
    assert np.array_equal(loaded.predict(IDS), model.predict(IDS))
    assert loaded.get_params() == model.get_params()
    for custom in (None, {}, {"Layers": Layers}):
        with pytest.raises(ValueError, match=r"custom_objects=\{'Factors': \.\.\.\}"):
            sklrec.load(path, custom_objects=custom)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Layers, r"do not both have the tensor '.*'\. Pass the class that was fitted"),
        (IDEncoder, "parameter of ModuleRecRegressor must be an nn.Module subclass"),
        ("Factors", "parameter of ModuleRecRegressor must be an nn.Module subclass"),
    ],
)
def test_another_class_is_refused(saved, cls, message):
    with pytest.raises(ValueError, match=f"cannot be read as a model: .*{message}"):
        sklrec.load(saved[0], custom_objects={"Factors": cls})


def renamed(document, arrays):
    arrays[TENSORS + "other"] = arrays.pop(TENSORS + "network.users.weight")


def of(change):
    def apply(document, arrays):
        arrays[TENSORS + "network.users.weight"] = change(arrays[TENSORS + "network.users.weight"])

    return apply


def owner(document, arrays):
    document["model"]["learned"]["module_"]["tables"]["network.users.weight"] = "nobody"


def other_owner(document, arrays):
    document["model"]["learned"]["module_"]["tables"]["network.users.weight"] = "item"


def unknown_table(document, arrays):
    document["model"]["learned"]["module_"]["tables"]["network.nothing"] = "user"


def device(document, arrays):
    document["model"]["learned"]["module_"]["device"] = "os"


def factors(document, arrays):
    document["model"]["parameters"]["module__n_factors"] = 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, "do not both have the tensor"),
        (of(lambda a: a[:, :2]), r"has 'network\.users\.weight' with the shape \(\d+, 2\)"),
        (of(lambda a: a.astype("f8")), "torch.float64, but the network has"),
        (factors, r"with the shape \(\d+, 3\) .* but the network has \(\d+, 4\)"),
        (owner, "should be one of 'user', 'item', 'value'"),
        (other_owner, "network.users.weight should be a table of n_items"),
        (unknown_table, "network.nothing should be a table of n_users"),
        (device, "should be a device of torch, got 'os'"),
    ],
)
def test_an_altered_file_is_refused(saved, tmp_path, change, message):
    document, arrays = map(copy.deepcopy, read_tensor_file(saved[0]))
    change(document, arrays)
    write_tensor_file(tmp_path / "model", document, arrays)
    with pytest.raises(ValueError, match=f"cannot be read as a model: .*{message}"):
        sklrec.load(tmp_path / "model", custom_objects={"Factors": Factors})
