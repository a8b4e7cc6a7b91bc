"""Registry of cases, and what a fitted model shows."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.behaviour._library import Library
from benchmarks.behaviour._tables import plain, weights_of, with_unknown


@dataclass(frozen=True)
class Case:
    """A function of a library; the reason and the tolerance if its results must change."""

    run: Callable[[Library], Any]
    differs: str = ""
    tolerance: float = 0.0


CASES: dict[str, Case] = {}


def case(name: str, **declared: Any) -> Callable[[Any], Any]:
    def register(run: Any) -> Any:
        CASES[name] = Case(run, **declared)
        return run

    return register


FITTED = """user_factors_ item_factors_ user_biases_ item_biases_ global_mean_ rating_scale_ alpha_
n_users_ n_items_ n_ratings_ n_iter_ loss_curve_ validation_curve_ seen_ n_features_in_
feature_names_in_ stars_ timestamp_index_ timestamp_kind_ time_unit_ with_ratings_
n_outputs_""".split()


def state(model: Any, X: Any, **options: Any) -> dict[str, Any]:
    """Fitted attributes and predictions."""
    found = {name: getattr(model, name) for name in FITTED if hasattr(model, name)}
    if hasattr(model, "encoder_"):
        found["categories_"] = model.encoder_.categories_
    return found | {"predict": model.predict(X, **options)}


def lists(model: Any) -> dict[str, Any]:
    """Recommendations and similar rows."""
    users, items = (list(ids) for ids in model.encoder_.categories_)
    some = {user: items[k : k + 12] for k, user in enumerate(users[:5])}
    found = {
        "recommend": model.recommend(users[:20], 5),
        "with seen": model.recommend(users[:20], 5, exclude_seen=False),
        "candidates": model.recommend(users[:5], 5, candidates=items[:30]),
        "candidates by user": model.recommend(list(some), 5, candidates=some),
        "similar_items": model.similar_items(items[:10], 4),
        "similar_items, dot": model.similar_items(items[:10], 4, metric="dot"),
    }
    if isinstance(users[0], int | np.integer):
        found["unknown user"] = model.recommend([-1], 5)
    if "timestamp" not in model.get_params():  # a SequenceRatingRegressor has no users' factors
        found["similar_users"] = model.similar_users(users[:10], 4)
    return found


def fitted(
    lib: Library,
    name: str,
    params: dict[str, Any],
    table: Callable[[], Any] = plain,
    weights: bool = False,
    validation: bool = False,
) -> tuple[Any, Any]:
    """A model fitted to all but the last 600 rows, and these rows."""
    X, y = table()
    if name == "BayesianMFRegressor":
        X = lib.visible(X, params.get("side_features"))
    extra: dict[str, Any] = {}
    if validation:
        extra |= {"X_val": X[-600:], "y_val": y[-600:]}
    if weights:
        extra["sample_weight"] = weights_of(y[:-600])
    if weights and validation:
        extra["sample_weight_val"] = weights_of(y[-600:])
    model = getattr(lib, name)(**params, random_state=lib.seed).fit(X[:-600], y[:-600], **extra)
    return model, with_unknown(X[-600:])


def whole(name: str, params: dict[str, Any], options: dict[str, Any], lib: Library) -> Any:
    model, X = fitted(lib, name, params, **options)
    return {"state": state(model, X), "lists": lists(model)}
