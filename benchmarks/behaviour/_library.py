"""Registry of cases, estimators, made tables, and what a model shows."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

import sklrec
from sklrec.datasets import make_ratings

CASES: dict[str, Callable[[], Any]] = {}
IDS = ["user", "item"]
CLASSES = {"mf": sklrec.MFRegressor, "bayesian": sklrec.BayesianMFRegressor}
CLASSES |= {"dense": sklrec.DenseRecRegressor, "sequence": sklrec.SequenceRatingRegressor}


def case(name: str) -> Callable[[Any], Any]:
    return lambda run: CASES.setdefault(name, run)


def make(kind: str, **params: Any) -> Any:
    return CLASSES[kind](**{"random_state": 0} | params)


# --- Made tables of ratings


def plain(*size: int) -> Any:
    """Users, items and timestamps, and ratings."""
    found = make_ratings(*(size or (250, 120, 6000)), step=1, random_state=0)
    return tuple(part.reset_index(drop=True) for part in found)


large = partial(plain, 2500, 1500, 10_000)  # many more users and items than ratings of a batch


def string_ids() -> Any:
    X, y = plain()
    return X.assign(**{name: name + X[name].astype(str) for name in IDS}), y


def featured() -> Any:
    """Side features of users, items and ratings: numbers, categories, dates, lists, gaps."""
    X, y = plain()
    user, item, hour = X["user"], X["item"], X["timestamp"] // 3600 % 24
    X["age"] = (user * 37 % 61 + 15.0).where(user % 7 != 0)
    X["joined"] = pd.to_datetime(user % 50, unit="D", origin="2020-01-01").where(user % 11 != 0)
    X["studio"] = ("s" + (item % 9).astype(str)).where(item % 10 != 0, None)
    X["tags"] = [["drama", "war"][: 1 + k % 2] if k % 3 else ["comedy"] for k in item]
    X["hour"] = hour.where(hour != 5)
    X["place"] = pd.Categorical(np.where(hour % 2, "home", "train"))
    return X.drop(columns="timestamp"), y


def weights_of(y: Any) -> np.ndarray:
    return 0.5 + np.arange(len(y)) % 4


def with_unknown(X: Any) -> Any:
    """The rows, and some with an unknown user, an unknown item or both."""
    if X["user"].dtype.kind != "i":
        return X
    unknown = [X[:3].assign(user=-1), X[:3].assign(item=-1), X[:2].assign(user=-1, item=-1)]
    return pd.concat([X, *unknown], ignore_index=True)


# --- What a fitted model shows

FITTED = """user_factors_ item_factors_ user_biases_ item_biases_ global_mean_ rating_scale_
n_users_ n_items_ n_ratings_ n_iter_ loss_curve_ validation_curve_ seen_ stars_ timestamp_index_
timestamp_kind_ time_unit_ with_ratings_ n_outputs_""".split()


def state(model: Any, X: Any) -> dict[str, Any]:
    """Fitted attributes and predictions."""
    found = {name: getattr(model, name) for name in FITTED if hasattr(model, name)}
    if hasattr(model, "encoder_"):
        found["categories_"] = model.encoder_.categories_
    if getattr(model, "penalties_", None) is not None:
        found["penalties_"] = vars(model.penalties_)
    if hasattr(model, "predict_rating_proba"):
        found["proba"] = model.predict_rating_proba(X)
    if "Bayesian" in type(model).__name__:
        found["std"] = model.predict(X, return_std=True)
    return found | {"predict": model.predict(X)}


def shown(model: Any, X: Any) -> dict[str, Any]:
    """Fitted attributes, predictions, recommendations and similar rows."""
    users, items = (list(ids) for ids in model.encoder_.categories_)
    some = {user: items[k : k + 12] for k, user in enumerate(users[:5])}
    asked = [*users[:20], -1] if isinstance(users[0], int | np.integer) else users[:20]
    found = [model.recommend(asked, 5, exclude_seen=exclude) for exclude in (True, False)]
    found += [model.recommend(list(some), 5, candidates=c) for c in (some, items[:30])]
    found += [model.similar_items(items[:10], 4, metric=metric) for metric in ("cosine", "dot")]
    if "timestamp" not in model.get_params():  # a SequenceRatingRegressor has no users' factors
        found.append(model.similar_users(users[:10], 4))
    return {"state": state(model, X), "lists": found}


def fitted(
    kind: str, params: Any, table: Any = plain, weights: bool = False, validation: bool = False
) -> tuple[Any, Any]:
    """A model fitted to all but the last 600 rows, and these rows."""
    X, y = table()
    extra: dict[str, Any] = {"X_val": X[-600:], "y_val": y[-600:]} if validation else {}
    if weights:
        extra["sample_weight"] = weights_of(y[:-600])
    if weights and validation:
        extra["sample_weight_val"] = weights_of(y[-600:])
    model = make(kind, **params).fit(X[:-600], y[:-600], **extra)
    return model, with_unknown(X[-600:])
