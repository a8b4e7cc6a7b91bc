"""Comparison of two values in all their attributes and types."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

# Computed from other attributes, or not stored.
DERIVED = {
    "net_",
    "_index",
    "_index_of_objects",
    "_distinct_times",
    "_by_item",
    "_tie_keys",
    "ties",
    "_has_decimal_form",
}


def assert_same(got, wanted, place=""):
    if isinstance(wanted, np.ndarray | np.generic) and not isinstance(got, np.ndarray):
        wanted = wanted.tolist()  # files hold parameters and scalars as Python's own types
    assert type(got) is type(wanted), f"{place}: {type(got)} in place of {type(wanted)}"
    if isinstance(wanted, np.ndarray):
        assert got.dtype == wanted.dtype, place
        np.testing.assert_array_equal(got, wanted, err_msg=place)
        if wanted.dtype.kind == "O":
            assert_same(got.tolist(), wanted.tolist(), place)
    elif isinstance(wanted, pd.api.extensions.ExtensionArray):
        pd.testing.assert_extension_array_equal(got, wanted, check_exact=True, obj=place)
    elif isinstance(wanted, np.random.RandomState):
        np.testing.assert_equal(got.get_state(), wanted.get_state(), err_msg=place)
    elif isinstance(wanted, list | tuple):
        assert len(got) == len(wanted), place
        for k, pair in enumerate(zip(got, wanted, strict=True)):
            assert_same(*pair, f"{place}[{k}]")
    elif (attributes := _attributes(wanted)) is not None:
        found = _attributes(got)
        assert set(found) == set(attributes), place
        for name in attributes:
            assert_same(found[name], attributes[name], f"{place}.{name}")
    else:
        assert got == wanted or (got != got and wanted != wanted), f"{place}: {got!r}, {wanted!r}"


def _attributes(value):
    """The parts of a value by name, or None if it has none."""
    if isinstance(value, dict):
        return value
    if isinstance(value, csr_array):
        return {name: getattr(value, name) for name in ("shape", "data", "indices", "indptr")}
    if isinstance(value, torch.nn.Module):
        return {
            **{name: tensor.detach().cpu().numpy() for name, tensor in _tensors(value)},
            **{
                f"{name}.{key}": part.item() if isinstance(part, np.generic) else part
                for name, module in value.named_modules()
                for key, part in vars(module).items()
                if not key.startswith("_") and key != "training" and not callable(part)
            },
        }
    if type(value).__module__.startswith(("sklrec", "sklearn")):
        found = {name: part for name, part in vars(value).items() if name not in DERIVED}
        if "_metadata_request" in found:  # it refers to its estimator
            found["_metadata_request"] = repr(found["_metadata_request"])
        return found
    return None


def _tensors(module):
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
