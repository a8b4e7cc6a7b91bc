"""Comparison of two values in all their attributes and types."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

# Computed from other attributes, or not stored.
DERIVED = {"net_", "_index", "_index_of_objects", "_distinct_times", "_tie_keys", "ties"}


def assert_same(got: Any, wanted: Any, place: str = "") -> None:
    if isinstance(wanted, np.ndarray | np.generic) and not isinstance(got, np.ndarray):
        wanted = wanted.tolist()  # the file stores parameters and scalars as Python's own
    assert type(got) is type(wanted), f"{place}: {type(got)} in place of {type(wanted)}"
    if isinstance(wanted, np.ndarray):
        assert got.dtype == wanted.dtype, place
        np.testing.assert_array_equal(got, wanted, err_msg=place)
        if wanted.dtype.kind == "O":
            assert_same(got.tolist(), wanted.tolist(), place)
    elif isinstance(wanted, pd.api.extensions.ExtensionArray):
        pd.testing.assert_extension_array_equal(got, wanted, check_exact=True, obj=place)
    elif isinstance(wanted, csr_array):
        assert got.shape == wanted.shape, place
        for name in ("data", "indices", "indptr"):
            assert_same(getattr(got, name), getattr(wanted, name), f"{place}.{name}")
    elif isinstance(wanted, torch.nn.Module):
        _assert_same_module(got, wanted, place)
    elif isinstance(wanted, np.random.RandomState):
        np.testing.assert_equal(got.get_state(), wanted.get_state(), err_msg=place)
    elif isinstance(wanted, dict):
        assert set(got) == set(wanted), place
        for name in wanted:
            assert_same(got[name], wanted[name], f"{place}[{name!r}]")
    elif isinstance(wanted, list | tuple):
        assert len(got) == len(wanted), place
        for k, pair in enumerate(zip(got, wanted, strict=True)):
            assert_same(*pair, f"{place}[{k}]")
    elif type(wanted).__module__.startswith(("sklrec", "sklearn")):
        mine, theirs = (_stored(value) for value in (got, wanted))
        assert set(mine) == set(theirs), place
        for name in theirs:
            assert_same(mine[name], theirs[name], f"{place}.{name}")
    else:
        assert got == wanted or (got != got and wanted != wanted), f"{place}: {got!r}, {wanted!r}"


def _stored(value: Any) -> dict[str, Any]:
    stored = {name: v for name, v in vars(value).items() if name not in DERIVED}
    if "_metadata_request" in stored:  # it refers to its estimator
        stored["_metadata_request"] = repr(stored["_metadata_request"])
    return stored


def _assert_same_module(got: torch.nn.Module, wanted: torch.nn.Module, place: str) -> None:
    for tensors in ("named_parameters", "named_buffers"):
        mine, theirs = (
            dict(getattr(module, tensors)(remove_duplicate=False)) for module in (got, wanted)
        )
        assert set(mine) == set(theirs), place
        for name, tensor in theirs.items():
            assert_same(
                mine[name].detach().cpu().numpy(), tensor.detach().cpu().numpy(), f"{place}.{name}"
            )
    plain = [
        {
            f"{name}.{key}": value.item() if isinstance(value, np.generic) else value
            for name, part in module.named_modules()
            for key, value in vars(part).items()
            if not key.startswith("_") and key != "training" and not callable(value)
        }
        for module in (got, wanted)
    ]
    assert_same(dict(sorted(plain[0].items())), dict(sorted(plain[1].items())), place)
