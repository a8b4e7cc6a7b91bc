"""New rows of a fitted `BayesianMFRegressor`, and what its rows owe to their ratings."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import copy, deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch

from sklrec._core.choices import Items
from sklrec._core.explain import Contributions
from sklrec._core.newcomers import Newcomers
from sklrec._core.readers import (
    block_arrays,
    described_ids,
    learn_pairs,
    n_ids,
    new_rating_scale,
)
from sklrec._core.rows import read_rated
from sklrec._data.user_ratings import UserRatings
from sklrec._solvers.contributions import contributions
from sklrec._solvers.fold_in import solve_rows


def folded_in(model: Any, X: Any, y: Any, sample_weight: Any) -> Any:
    """Copy a model with rows of new users or new items, solved from their ratings."""
    _check_takes_numbers(model, "fold_in")
    folded = copy(model)
    X, y, weight = read_rated(model, X, y, sample_weight, reset=False)
    learn_pairs(folded, X, y, model)
    inputs = model._reader.inputs(folded, X)
    codes, n_known = (inputs["users"], inputs["items"]), n_ids(model)
    is_new = [of_rows > n for of_rows, n in zip(codes, n_known, strict=True)]
    if len(odd := np.flatnonzero(is_new[0] == is_new[1])):
        both = "a new user and a new item" if is_new[0][odd[0]] else "neither of the two"
        raise ValueError(
            "fold_in takes ratings by new users of known items, or by known users of new "
            f"items. Row {odd[0]} has {both}. Leave such rows out, or call fit with "
            "warm_start=True."
        )
    module = folded.module_ = deepcopy(model.module_).grow(*n_ids(folded))
    described = described_ids(model.side_blocks_, X, inputs, n_known)
    for k, (side, (rows, *features)) in enumerate(described.items()):
        if len(rows):
            given = {"partners": codes[1 - k], "y": y, "weight": weight, **inputs}
            given = {name: values[is_new[k]] for name, values in given.items()}
            numbers = given[f"{side}s"] - n_known[k] - 1
            solved = solve_rows(model.module_, side, numbers, given, features)
            module.set_features(side, rows, *features)
            module.set_rows(side, rows, *solved)
    if hasattr(model, "user_ratings_"):
        users, items, y, weight = (values[is_new[0]] for values in (*codes, y, weight))
        own = UserRatings.of(users, items, y, weight, n_ids(folded)[0])
        folded.user_ratings_ = model.user_ratings_.with_users(own)
    return folded


def recommended_for(
    model: Any, rated: tuple[Any, Any, Any], chosen: tuple[Any, ...], n_std: float
) -> pd.DataFrame:
    """Recommend items to users who are solved from X, y and weights, without a copy."""
    _check_takes_numbers(model, "recommend_for")
    X, y, weight = read_rated(model, *rated, reset=False)
    if not isinstance(model.rating_scale, str):
        new_rating_scale(model, y, None)
    new, module = Newcomers.read(model, X), model.module_
    ratings = {"partners": new.items, "y": y, "weight": weight}
    context = {"context": model.side_blocks_["context"]}
    ratings |= block_arrays(context, X)
    values, weights = model.side_blocks_["user"].arrays(X, new.first)
    features = torch.from_numpy(values), torch.from_numpy(weights)
    means, covariances = solve_rows(module, "user", new.users, ratings, features)
    noise = module.user_noise[:1].expand(len(means))

    def scores(some: slice, items: Items) -> torch.Tensor:
        inputs = {"items": items.codes, **items.features}
        tensors = {k: torch.from_numpy(v).to(means.device) for k, v in inputs.items()}
        rows = means[some], covariances[some], noise[some]
        return module._scores_of_rows(*rows, n_std=n_std, **tensors).cpu()

    return new.lists(model, scores, *chosen)


@torch.no_grad()
def parts_of_ratings(model: Any, user: int, items: np.ndarray) -> Contributions:
    """Compute what the predictions of a user for items consist of, by codes."""
    if not hasattr(model, "user_ratings_"):
        raise ValueError(
            "explain needs loss='squared_error' and no side features of ratings, but the model "
            f"was fitted with loss={model.loss!r} and the side features "
            f"{model.side_blocks_['context'].names} of ratings. Fit a model without them."
        )
    module, (own, y, weight) = model.module_, model.user_ratings_.of_user(user)
    codes = torch.from_numpy(items).to(module.global_mean.device)
    values = contributions(module, user, {"partners": own, "y": y, "weight": weight}, codes)
    scores = module(torch.full_like(codes, user), codes).cpu().numpy()
    mean = np.full(len(items), module.zero.item())
    of_items = (module.scale * module.item_biases[codes]).cpu().numpy()
    rest = scores - mean - of_items - values.sum(0)
    return Contributions({"mean": mean, "item": of_items, "user": rest}, own, values, y)


def _check_takes_numbers(model: Any, method: str) -> None:
    if model.module_.stars is not None:
        raise ValueError(
            f"{method} takes ratings as numbers, but the model was fitted with loss='ordinal'. "
            "Call fit with warm_start=True, or fit with loss='squared_error'."
        )
