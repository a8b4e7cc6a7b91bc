"""A service around one fitted `MFRegressor`: an example to start one's own from.

``MODEL=mf.joblib uvicorn --app-dir docs/serving --factory app:from_environment``
"""
# SPDX-License-Identifier: BSD-3-Clause

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from typing import Annotated

import joblib
import pandas as pd
import torch
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from sklrec import MFRegressor

MANY = 1_000
# Range of a column of 64-bit integers. For larger IDs the model would make, and keep, a second
# table of all users or items.
ID = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Body(BaseModel):
    """Body of a request; unknown fields are refused, and "7" is not taken for 7."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Asked(Body):
    """Users who want recommendations."""

    users: list[ID] = Field(min_length=1, max_length=MANY)
    n_items: int = Field(10, ge=1, le=100)
    exclude_seen: bool = True
    candidates: list[ID] | None = Field(None, min_length=1, max_length=MANY)


class Pair(Body):
    """A user and an item."""

    user: ID
    item: ID


class Pairs(Body):
    """Pairs to predict."""

    pairs: list[Pair] = Field(min_length=1, max_length=MANY)


class Rated(Body):
    """An item and its rating by a newcomer."""

    item: ID
    rating: float


class Newcomer(Body):
    """First ratings by a user that the model does not know."""

    ratings: list[Rated] = Field(min_length=1, max_length=MANY)
    n_items: int = Field(10, ge=1, le=100)


class Recommendation(BaseModel):
    """An item for a user."""

    user: int | None
    item: int
    rank: int
    score: float


def create_app(path: str | os.PathLike[str]) -> FastAPI:
    """Make the service of a file that you wrote by `joblib.dump`: such files can run code."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Each request has a thread, so that torch's own threads would only compete with these.
        # The number is also one for the whole process, and `predict` lowers it for a moment when
        # there is little to do. From one it cannot be lowered.
        torch.set_num_threads(1)
        app.state.model = joblib.load(path)
        yield

    app = FastAPI(title="Recommendations", lifespan=lifespan)
    app.exception_handler(RequestValidationError)(refuse)
    app.post("/recommend")(recommend)
    app.post("/predict")(predict)
    app.post("/newcomer")(newcomer)
    app.get("/health")(health)
    return app


def from_environment() -> FastAPI:
    """Make the service of the model file that the variable MODEL names."""
    return create_app(os.environ["MODEL"])


def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
    """Say what is wrong with a body, without its values: JSON has no NaN, for example."""
    detail = [{key: one[key] for key in ("type", "loc", "msg")} for one in error.errors()]
    return JSONResponse({"detail": detail}, 422)


def loaded(request: Request) -> MFRegressor:
    """Give the model, which is loaded once, before the first request."""
    return request.app.state.model


Model = Annotated[MFRegressor, Depends(loaded)]


# FastAPI runs each function in a thread of its own, since they are no coroutines. None of them
# changes the model.
def recommend(asked: Asked, model: Model) -> list[Recommendation]:
    """Items for users; an unknown user gets the items with the highest biases."""
    try:
        found = model.recommend(
            asked.users,
            asked.n_items,
            exclude_seen=asked.exclude_seen,
            candidates=asked.candidates,
        )
    except ValueError as error:  # an item among the candidates that the model does not know
        raise HTTPException(422, str(error)) from error
    return found.to_dict("records")


def predict(asked: Pairs, model: Model) -> list[float]:
    """Ratings of pairs."""
    return model.predict(pd.DataFrame([pair.model_dump() for pair in asked.pairs])).tolist()


def newcomer(asked: Newcomer, model: Model) -> list[Recommendation]:
    """Items for a new user, from a few ratings; the model itself stays as it is."""
    rated = pd.DataFrame([one.model_dump() for one in asked.ratings])
    # `partial_fit` would widen a scale that `fit` took from the ratings
    scale = model.rating_scale_
    if scale is not None and not rated["rating"].between(*scale).all():
        raise HTTPException(422, f"Ratings must lie between {scale[0]:g} and {scale[1]:g}.")
    known = rated[rated["item"].isin(model.encoder_.categories_[1])]
    if known.empty:
        raise HTTPException(422, "None of these items is known.")
    user = int(model.encoder_.categories_[0].max()) + 1
    X = known[["item"]].assign(user=user)[["user", "item"]]
    taught = copy(model).partial_fit(X, known["rating"])
    found = taught.recommend([user], asked.n_items)
    return found.astype({"user": object}).assign(user=None).to_dict("records")


def health(model: Model) -> dict[str, int]:
    """Numbers of users and items that the model knows."""
    users, items = model.encoder_.categories_
    return {"users": len(users), "items": len(items)}
