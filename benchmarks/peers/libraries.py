"""Tasks in the environment of a library: ``python -m benchmarks.peers.libraries TASK FOLDER``.

A task named after a library returns the arguments of `serve`; any other one writes its reply.
"""
# SPDX-License-Identifier: BSD-3-Clause

import sys
from functools import partial

import numpy as np
import pandas as pd

from benchmarks._measure import THREADS, alternate, seconds
from benchmarks.peers._serve import WARM_UP_ROWS, measured, read_request, serve, write_reply
from benchmarks.peers.lists import implicit_events, lenskit_events, sklrec_events  # noqa: F401

ROWS_AT_ONCE = 16_384
BLOCKS = [2**k for k in range(10, 16)]  # of pairs, of which the bare loop takes the best size
ENOUGH, MOST = 2.0, 5  # short fits are repeated for so many seconds, or so often


def surprise():
    from surprise import SVD, Dataset, Reader

    def pairs(users, items):
        return list(zip(users.tolist(), items.tolist(), [0.0] * len(users), strict=True))

    def build(users, items, ratings, scale):
        frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
        return Dataset.load_from_df(frame, Reader(rating_scale=scale)).build_full_trainset()

    def fit(trainset, **params):
        return SVD(**{"random_state": 0, **params}).fit(trainset)

    def predict(model, asked):
        return [prediction.est for prediction in model.test(asked)]

    return build, fit, predict, pairs


def cornac():
    from cornac.data import Dataset
    from cornac.models import MF

    def pairs(*columns):
        return [column.tolist() for column in columns]

    def build(users, items, ratings, scale):
        return Dataset.from_uir(zip(*pairs(users, items, ratings), strict=True), seed=0)

    def fit(trainset, **params):
        # MF's own `seed` means one thread; without it, it draws from numpy's global generator.
        np.random.seed(0)  # noqa: NPY002
        return MF(num_threads=THREADS, **params).fit(trainset)

    def predict(model, asked):
        users, items = model.uid_map, model.iid_map
        return [
            model.rate(users.get(user, model.num_users), items.get(item, model.num_items))
            for user, item in zip(*asked, strict=True)
        ]

    return build, fit, predict, pairs


def lenskit():
    from lenskit.als import BiasedMFScorer
    from lenskit.batch import predict as batch_predict
    from lenskit.data import from_interactions_df
    from lenskit.pipeline import predict_pipeline
    from lenskit.training import TrainingOptions

    def pairs(users, items):
        return pd.DataFrame({"user_id": users, "item_id": items})

    def build(users, items, ratings, scale):
        return from_interactions_df(pairs(users, items).assign(rating=ratings))

    def fit(trainset, **params):
        pipeline = predict_pipeline(BiasedMFScorer(**params))
        pipeline.train(trainset, TrainingOptions(rng=0))
        return pipeline

    def predict(pipeline, asked):
        found = batch_predict(pipeline, asked, n_jobs=1).to_df()
        found = found.drop_duplicates(["user_id", "item_id"]).set_index(["user_id", "item_id"])
        return found["score"].reindex(pd.MultiIndex.from_frame(asked)).to_numpy(np.float64)

    return build, fit, predict, pairs


def coded(users, items, ratings, scale):
    """Indexes of the IDs, their codes, and the ratings."""
    codes, ids = zip(*map(pd.factorize, (users, items)), strict=True)
    return [pd.Index(own) for own in ids], codes, ratings


def codes_of(indexes, asked):
    return [index.get_indexer(ids) for index, ids in zip(indexes, asked, strict=True)]


def libmf():
    from libmf import mf

    def fit(trainset, **params):
        indexes, codes, ratings = trainset
        model = mf.MF(nr_threads=THREADS, quiet=True, **params)
        model.fit(np.column_stack([*codes, ratings]))
        return model, indexes

    def predict(fitted, asked):
        model, indexes = fitted
        # A code past the last row makes LIBMF give the mean. Its `predict` reads column by column.
        codes = [
            np.where(found < 0, len(index), found)
            for index, found in zip(indexes, codes_of(indexes, asked), strict=True)
        ]
        return model.predict(np.asfortranarray(np.column_stack(codes)))

    return coded, fit, predict


def implicit():  # it reads the rated pairs, not the ratings
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    def fit(trainset, **params):
        indexes, codes, ratings = trainset
        matrix = csr_matrix((np.ones(len(ratings), np.float32), codes), [*map(len, indexes)])
        model = AlternatingLeastSquares(**{"random_state": 0, "num_threads": THREADS, **params})
        with threadpool_limits(1, "blas"):  # it has threads of its own, and warns of BLAS's
            model.fit(matrix, show_progress=False)
        return model, indexes

    def predict(fitted, asked):
        model, indexes = fitted
        users, items = codes_of(indexes, asked)
        found = np.einsum("ij,ij->i", model.user_factors[users], model.item_factors[items])
        return np.where((users < 0) | (items < 0), 0, found)

    return coded, fit, predict


def fastai():
    from fastai.collab import CollabDataLoaders, collab_learner
    from fastai.torch_core import set_seed

    def pairs(users, items):
        return pd.DataFrame({"user": users, "item": items})

    def build(users, items, ratings, scale):
        frame = pairs(users, items).assign(rating=ratings)
        # no row is held out: all models learn from the whole training set
        return CollabDataLoaders.from_df(frame, valid_pct=0.0, seed=0, bs=64), scale

    def fit(trainset, n_epochs, lr, wd, **params):
        dls, (low, high) = trainset
        set_seed(0)
        # A sigmoid never reaches its ends, so they lie outside the scale: at 0 and 5.5 stars.
        ends = low - 1, high + 0.5
        learner = collab_learner(dls, use_nn="layers" in params, y_range=ends, **params)
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(n_epochs, lr, wd=wd)
        return learner

    def predict(learner, asked):
        with learner.no_bar(), learner.no_logging():
            predictions, _ = learner.get_preds(dl=learner.dls.test_dl(asked))
        return predictions.numpy().ravel()  # of one column with a network

    return build, fit, predict, pairs


def myfm():
    from benchmarks.peers.myfm_peer import build, fit, pairs, predict

    return build, fit, predict, pairs


def sklrec():  # the encoding of the IDs is a part of the fit
    from benchmarks._data import split_genres
    from benchmarks._models import Model, make

    def pairs(users, items, **side):
        return split_genres(pd.DataFrame({"user": users, "item": items, **side}))

    def build(users, items, ratings, scale, **side):
        return pairs(users, items, **side), ratings

    def fit(trainset, **params):
        return make(Model("", "sklrec", params)).fit(*trainset)

    return build, fit, lambda model, X: model.predict(X), pairs


def implicit_lists():
    """implicit's lists for all users, without the items that they rated, from given factors."""
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    request, data = read_request()
    users, items = data["user_factors"], data["item_factors"]
    there = np.ones(len(data["indices"]), dtype=np.float32)
    shape = len(users), len(items)
    seen = csr_matrix((there, data["indices"], data["indptr"]), shape)
    model = AlternatingLeastSquares(factors=users.shape[1], num_threads=THREADS)
    model.user_factors, model.item_factors = users, items

    def recommend(n_users):
        return model.recommend(np.arange(n_users), seen[:n_users], N=request["n_items"])

    with threadpool_limits(1, "blas"):
        recommend(100)  # warms up
        (found, _), elapsed, held = measured(lambda: recommend(len(users)), request["repeats"])
    write_reply({"seconds": elapsed, "bytes": held}, {"items": found})


def sklrec_lists():
    """Our lists for all users, without the items that they rated, and their factors."""
    from benchmarks._torch import multiplication_rate
    from sklrec import MFRegressor

    request, data = read_request()
    log = pd.DataFrame({"user": data["user"], "item": data["item"]})
    model = MFRegressor(**request["params"]).fit(log, data["rating"])
    users, names = model.encoder_.categories_
    n_items, repeats = request["n_items"], request["repeats"]
    model.recommend(users[:100], n_items)  # warms up
    lists, *recommended = measured(lambda: model.recommend(users, n_items), repeats)
    found = pd.Index(names).get_indexer(lists["item"]).reshape(len(users), n_items)
    seen = model.seen_[1:, 1:]
    arrays = {"items": found, "indices": seen.indices, "indptr": seen.indptr}
    for name in ("user_factors", "item_factors"):
        arrays[name] = getattr(model, f"{name}_").astype(np.float32)
    write_reply({"recommend": recommended, "rate": multiplication_rate()}, arrays)


def sklrec_codes():
    """Seconds of `predict` and its parts, beside a bare gather-and-dot of the same codes."""
    import torch

    from sklrec import MFRegressor

    request, _ = read_request()
    n_rows, n_pairs, rng = request["n_rows"], request["n_pairs"], np.random.default_rng(0)
    X = np.column_stack([rng.permutation(n_rows), rng.permutation(n_rows)])
    model = MFRegressor(n_factors=request["n_factors"], max_epochs=1, random_state=0)
    model.fit(X, rng.uniform(1, 5, n_rows))
    asked = np.column_stack([rng.choice(side, n_pairs) for side in X.T])
    users, items = map(torch.from_numpy, model.encoder_.transform(asked).T.copy())
    module = model.module_
    mean, scale = module.global_mean.item(), module.scale.item()
    P, Q = module.user_factors.weight, module.item_factors.weight

    def rate(n_at_once):  # as `predict` does
        found = np.empty(n_pairs)
        for first in range(0, n_pairs, n_at_once):
            some = slice(first, first + n_at_once)
            found[some] = module(users[some], items[some]).numpy()
        return found.clip(*model.rating_scale_, out=found)

    def bare(n_at_once):
        found = torch.empty(n_pairs)
        parts = zip(*(v.split(n_at_once) for v in (found, users, items)), strict=True)
        for out, u, i in parts:
            torch.sum(P.index_select(0, u).mul_(Q.index_select(0, i)), 1, out=out)
            out += module.user_biases.index_select(0, u)
            out += module.item_biases.index_select(0, i)
            out.mul_(scale).add_(mean)
        return found

    calls = {f"bare {n}": partial(bare, n) for n in BLOCKS}
    calls |= {"codes to ratings": partial(rate, ROWS_AT_ONCE)}
    calls |= {"predict": partial(model.predict, asked)}
    calls |= {"encoding": partial(model.encoder_.transform, asked)}
    with torch.inference_mode():
        expected = bare(ROWS_AT_ONCE).numpy().clip(*model.rating_scale_)
        if np.abs(rate(ROWS_AT_ONCE) - expected).max() > 1e-4:
            raise RuntimeError("The ratings differ, so the times cannot be compared.")
        for repeats in (1, request["repeats"]):  # the first warms up
            times = alternate({k: partial(seconds, f) for k, f in calls.items()}, repeats)
    write_reply(times, {})


def sklrec_cost():
    """Cost of one fit to made arrays in seconds and bytes: int64 IDs and float64 ratings."""
    from benchmarks._data import grown
    from benchmarks._models import Model, make

    request, _ = read_request()
    model = Model(*request["model"])
    log = grown(request["n_ratings"], timestamps="timestamp" in model.params)
    y = log.pop("rating").to_numpy()
    X = np.ascontiguousarray(log.to_numpy())
    del log
    make(model).fit(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS])
    fitted, first, held = measured(lambda: make(model).fit(X, y), repeats=1)
    tables = [*fitted.module_.parameters(), *fitted.module_.buffers()]
    size, times = sum(t.nbytes for t in tables), [first]
    del fitted, tables
    while sum(times) < ENOUGH and len(times) < MOST:
        times.append(seconds(lambda: make(model).fit(X, y)))
    write_reply({"seconds": min(times), "fit_bytes": held, "model_bytes": size}, {})


def sklrec_files():
    """Cost of reading a Parquet file and fitting to it, in a process that did nothing before."""
    from benchmarks._data import rmse
    from sklrec import MFRegressor
    from sklrec.datasets import ParquetRatings

    request, _ = read_request()
    train, few, test = (f"{request['folder']}/{part}.parquet" for part in ("train", "few", "test"))
    mf = MFRegressor(random_state=0)

    def fit(file):
        if request["in_chunks"]:
            mf.fit(ParquetRatings(file, rating="rating"))
        else:
            log = pd.read_parquet(file)
            mf.fit(log[["user", "item"]], log["rating"])

    pd.DataFrame({"user": range(10), "item": 1, "rating": range(10)}).to_parquet(few)
    fit(few)
    _, taken, peak = measured(lambda: fit(train), repeats=1)
    tables = sum(parameter.nbytes for parameter in mf.module_.parameters())
    seen = mf.seen_.data.nbytes + mf.seen_.indices.nbytes + mf.seen_.indptr.nbytes
    test = pd.read_parquet(test)
    error = rmse(test["rating"].to_numpy(), mf.predict(test[["user", "item"]]))
    sizes = {"peak_mb": peak / 1e6, "model_mb": (tables + seen) / 1e6}
    write_reply(sizes | {"seconds": taken, "rmse": error}, {})


if __name__ == "__main__":
    if arguments := globals()[sys.argv[1]]():
        serve(*arguments)
