"""A service of one model: ``MODEL=model.sklrec uvicorn --factory app:from_environment``."""
# SPDX-License-Identifier: BSD-3-Clause

import asyncio
import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import ClientDisconnect

import sklrec

MAX_BYTES, READ_SECONDS = 256 * 1024, 10  # of a body
MANY = 1_000  # users, rows or candidates in a body
MAX_LISTED, MAX_SCORES = 10_000, 10_000_000  # users times items of an answer, and candidates
FEW = 20  # users or rows of a small request; large ones have their own threads
THREADS, QUEUE = 2, 64  # for small requests, and again for large ones
# Integers of 64 bits, or strings. To a model, 7 and "7" are two IDs.
ID = Annotated[int, Field(ge=-(2**63), lt=2**63)] | Annotated[str, Field(max_length=200)]


class Users(BaseModel, strict=True, extra="forbid"):
    """Users who want recommendations."""

    users: list[ID] = Field(min_length=1, max_length=MANY)
    n_items: int = Field(10, ge=1, le=100)
    exclude_seen: bool = True
    candidates: list[ID] | None = Field(None, min_length=1, max_length=MANY)


class Rows(BaseModel, strict=True, extra="forbid", allow_inf_nan=False):
    """Rows of X, with the columns that the model was fitted to."""

    rows: list[dict[str, ID | float]] = Field(min_length=1, max_length=MANY)


class Events(Rows):
    """All events of users, such as new ones; with ratings if the model reads them."""

    ratings: list[float] | None = None
    n_items: int = Field(10, ge=1, le=100)


class Served:
    """A model from a file; requests only read it."""

    def __init__(self, path: str | os.PathLike[str], custom_objects: dict[str, Any] | None):
        content = Path(path).read_bytes()
        self.version = hashlib.sha256(content).hexdigest()[:12]
        self.model = sklrec.load(path, custom_objects=custom_objects)
        if Path(path).read_bytes() != content:
            raise ValueError("The file changed while it was read. Load it again.")
        if not (hasattr(self.model, "recommend") and hasattr(self.model, "feature_names_in_")):
            raise ValueError("The file must hold a model that was fitted to a DataFrame.")
        sides = map(pd.Series, self.model.encoder_.categories_)  # keeps the types of dates
        self.types = [set(map(type, ids.tolist())) for ids in sides]
        if not set.union(*self.types) <= {int, str}:
            raise ValueError("Fit the model to IDs that are integers or strings, as in JSON.")

    def recommend(self, asked: Users) -> list[dict[str, Any]]:
        """Items for users; all unknown users get the same items."""
        self.check(asked.users, asked.candidates or [], asked.n_items, len(asked.candidates or []))
        return self.model.recommend(**asked.model_dump()).to_dict("records")

    def predict(self, asked: Rows) -> list[float]:
        """Ratings of users for items, by a model of ratings."""
        return self.model.predict(self.table(asked, n_items=1, n_scores=1)).tolist()

    def recommend_for(self, asked: Events) -> list[dict[str, Any]]:
        """Items for users, new ones too, from these events; the model stays as it is."""
        X, y = self.table(asked, asked.n_items), asked.ratings
        scale = getattr(self.model, "rating_scale_", None)
        if scale is not None and not (y and scale[0] <= min(y) and max(y) <= scale[1]):
            raise ValueError(f"Give `ratings` between {scale[0]:g} and {scale[1]:g}.")
        return self.model.recommend_for(X, y, asked.n_items).to_dict("records")

    def table(self, asked: Rows, n_items: int, n_scores: int = 0) -> pd.DataFrame:
        """Make X of checked rows."""
        columns = self.model.feature_names_in_.tolist()
        if any(set(row) != set(columns) for row in asked.rows):
            raise ValueError(f"Each row must have exactly the columns {columns}.")
        X = pd.DataFrame(asked.rows)[columns]
        users, items = (X[v.name].unique().tolist() for v in self.model.encoder_.vocabularies_)
        self.check(users, items, n_items, n_scores)
        return X

    def check(self, users: list[Any], items: list[Any], n_items: int, n_scores: int = 0) -> None:
        """Raise if an ID has a type that the model does not know, or if users are too many."""
        for ids, side, types in zip((users, items), ("user", "item"), self.types, strict=True):
            if wrong := [one for one in ids if type(one) not in types]:
                wanted = " or ".join(sorted(known.__name__ for known in types))
                raise ValueError(f"The {side} {wrong[0]!r} must be of type {wanted}.")
        at_most = min(MAX_LISTED // n_items, MAX_SCORES // (n_scores or self.model.n_items_)) or 1
        if len(users) > at_most:
            raise ValueError(f"Ask for at most {at_most} users at once.")

    def reply(self, status: int = 200, headers: Any = None, **content: Any) -> JSONResponse:
        """Make an answer with the version of the model."""
        return JSONResponse({"version": self.version, **content}, status, headers)


class Pool:
    """Threads with a bounded queue."""

    def __init__(self, threads: int = THREADS, queue: int = QUEUE):
        self.threads, self.left = ThreadPoolExecutor(threads), threads + queue

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run a function in a thread, or refuse it if too many wait."""
        if self.left == 0:
            raise HTTPException(503, "Too many requests wait.", {"Retry-After": "1"})
        self.left -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, work, *args)
        finally:
            self.left += 1


def create_app(path: str | os.PathLike[str], custom_objects: Any = None) -> FastAPI:
    """Make a service of a model file; `custom_objects` go to `sklrec.load`."""
    # Requests have threads, with which torch's own would compete. The number is one for the whole
    # process, and `predict` lowers it for a moment. From one it cannot be lowered.
    torch.set_num_threads(1)
    app = FastAPI(title="Recommendations")
    app.state.load = partial(Served, path, custom_objects)
    app.state.served = app.state.load()
    app.state.small, app.state.large, app.state.loader = Pool(), Pool(), Pool(1, 0)
    app.post("/recommend")(partial(answer, Served.recommend, Users))
    app.post("/predict")(partial(answer, Served.predict, Rows))
    app.post("/recommend_for")(partial(answer, Served.recommend_for, Events))
    app.post("/reload")(reload)
    app.get("/health")(health)
    return app


def from_environment() -> FastAPI:
    """Make the service of the model file that the variable MODEL names."""
    # Python keeps the text of each warning, and unknown IDs would make ever more of them.
    warnings.simplefilter("ignore", UserWarning)
    return create_app(os.environ["MODEL"])


async def read(request: Request) -> bytes:
    """Read a body, but not more than its limits allow."""
    body, close = bytearray(), {"Connection": "close"}
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise HTTPException(413, f"A body has at most {MAX_BYTES} bytes.", close)
    except (TimeoutError, ClientDisconnect) as error:
        raise HTTPException(408, "The body is not complete.", close) from error
    return bytes(body)


async def answer(work: Callable[..., Any], kind: Any, request: Request) -> JSONResponse:
    """Answer a request by a method of the model, which is that of this moment."""
    state, served = request.app.state, request.app.state.served
    try:
        if not hasattr(served.model, work.__name__):
            raise HTTPException(404, f"{type(served.model).__name__} has no `{work.__name__}`.")
        asked = kind.model_validate_json(await read(request))
        n_rows = len(asked.users if isinstance(asked, Users) else asked.rows)
        pool = state.small if n_rows <= FEW else state.large
        return await pool.run(lambda: served.reply(result=work(served, asked)))
    except HTTPException as error:
        return served.reply(error.status_code, error.headers, detail=error.detail)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)
        return served.reply(422, detail=detail[:10])
    except (ValueError, TypeError, OverflowError) as error:  # of arguments, by the model
        return served.reply(422, detail=str(error))


async def reload(request: Request) -> JSONResponse:
    """Load the file again. The old model answers until then, and stays if the file is bad."""
    state = request.app.state
    try:
        state.served = await state.loader.run(state.load)
    except (OSError, TypeError, ValueError) as error:
        return state.served.reply(409, detail=str(error))
    return state.served.reply()


async def health(request: Request) -> JSONResponse:
    """Tell which model answers."""
    served, model = request.app.state.served, request.app.state.served.model
    return served.reply(model=type(model).__name__, users=model.n_users_, items=model.n_items_)
