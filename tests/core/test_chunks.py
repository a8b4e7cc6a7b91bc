"""Fits to ratings in chunks: as accurate as in memory, and without leftovers if they fail."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
import resource
import tempfile
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.metrics import root_mean_squared_error
from skorch.callbacks import Callback

from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec.datasets import ArrayRatings, ChunkedRatings, ParquetRatings, make_ratings

N = 8_000
IDS = ["user", "item"]


@pytest.fixture(scope="module")
def log():
    X, y = make_ratings(300, 100, N, random_state=0)
    return X[IDS].assign(rating=y)


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder where temporary ones are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.glob("sklrec-*"))


def chunks(log, size=1_000, weight=None):
    for first in range(0, len(log), size):
        part = log[first : first + size]
        of_weight = () if weight is None else (weight[first : first + size],)
        yield part[IDS], part["rating"], *of_weight


def fitted(ratings, **parameters):
    fit = {name: parameters.pop(name) for name in ("X_val", "y_val") if name in parameters}
    parameters = {"n_factors": 8, "max_epochs": 4, "random_state": 0} | parameters
    return MFRegressor(**parameters).fit(ratings, **fit)


@contextmanager
def unchanged(estimator, log):
    """Check that an estimator is as it was, down to what it predicts."""
    before, predicted = dict(vars(estimator)), estimator.predict(log[IDS])
    yield
    assert vars(estimator).keys() == before.keys()
    assert all(value is before[name] for name, value in vars(estimator).items())
    np.testing.assert_array_equal(estimator.predict(log[IDS]), predicted)


@pytest.mark.parametrize("optimizer", [None, torch.optim.Adam])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_as_accurate_as_in_memory(log, optimizer, weighted):
    weight = np.random.default_rng(0).uniform(0.5, 2, size=N) if weighted else None
    train, test = slice(0, 7_000), slice(7_000, N)
    of_train = None if weight is None else weight[train]
    mf = MFRegressor(optimizer=optimizer, n_factors=8, max_epochs=15, random_state=0)
    errors = []
    for fit in (
        lambda: mf.fit(log[IDS][train], log["rating"][train], of_train),
        lambda: mf.fit(ChunkedRatings(chunks(log[train], weight=of_train))),
    ):
        predicted = fit().predict(log[IDS][test])
        errors.append(root_mean_squared_error(log["rating"][test], predicted))
    assert errors[1] == pytest.approx(errors[0], abs=0.01)
    assert errors[1] < 0.95 * log["rating"].std()


def test_all_but_the_factors_is_the_same_as_in_memory(log):
    whole, parts = fitted_in_memory(log), fitted(ChunkedRatings(chunks(log)))
    for mine, theirs in zip(parts.encoder_.categories_, whole.encoder_.categories_, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert parts.rating_scale_ == whole.rating_scale_
    assert parts.global_mean_ == pytest.approx(whole.global_mean_, abs=0.01)
    assert parts.module_.scale.item() == pytest.approx(whole.module_.scale.item(), rel=1e-6)
    assert isinstance(parts.seen_, csr_array)
    assert (parts.seen_ != whole.seen_).nnz == 0
    assert parts.n_features_in_ == 2
    assert list(parts.feature_names_in_) == IDS
    assert len(parts.loss_curve_) == parts.n_iter_ == 4


def test_ratings_far_from_0_are_as_precise_as_those_near_0(log):
    near, far = (
        fitted(ChunkedRatings(chunks(moved)), X_val=ChunkedRatings(chunks(moved[:500])))
        for moved in (log, log.assign(rating=log["rating"] + 1e9))
    )
    np.testing.assert_allclose(far.predict(log[IDS]) - 1e9, near.predict(log[IDS]), atol=1e-3)
    assert far.validation_curve_ == pytest.approx(near.validation_curve_, rel=1e-3)


def fitted_in_memory(log):
    mf = MFRegressor(n_factors=8, max_epochs=4, random_state=0)
    return mf.fit(log[IDS], log["rating"])


def test_every_source_gives_the_same_model(log, tmp_path):
    log.to_parquet(tmp_path / "log.parquet")
    ids = log[IDS].to_numpy()
    np.save(tmp_path / "ids.npy", ids)
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    models = [
        fitted(ChunkedRatings(chunks(log))),
        fitted(ParquetRatings(tmp_path / "log.parquet", rating="rating", chunk_size=1_000)),
        fitted(ArrayRatings(mapped, log["rating"].to_numpy(), chunk_size=1_000)),
    ]
    expected = models[0].predict(log[IDS])
    for model in models[1:]:
        rows = log[IDS] if hasattr(model, "feature_names_in_") else ids
        np.testing.assert_array_equal(model.predict(rows), expected)


def test_the_model_predicts_recommends_and_continues(log):
    mf = fitted(ChunkedRatings(chunks(log)))
    expected = mf.predict(log[IDS])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mf)).predict(log[IDS]), expected)
    lists = mf.recommend([log["user"][0]], n_items=5)
    assert not lists.merge(log, on=IDS).size
    new = pd.DataFrame({"user": [-1] * 3, "item": log["item"].unique()[:3]})
    mf.partial_fit(new, [5.0, 5.0, 1.0])
    assert -1 in mf.encoder_.categories_[0]


def test_rows_of_weight_0_and_empty_chunks_are_ignored(log):
    ones = np.ones(1_000)

    def with_nothing():
        yield log[IDS][:0], log["rating"][:0], ones[:0]
        yield log[IDS][:1_000] + 10**6, log["rating"][:1_000], 0 * ones
        yield from chunks(log, weight=np.ones(N))

    mf = fitted(ChunkedRatings(with_nothing()))
    expected = fitted(ChunkedRatings(chunks(log)))
    np.testing.assert_array_equal(mf.predict(log[IDS]), expected.predict(log[IDS]))


@pytest.mark.parametrize("as_chunks", [False, True])
def test_validation_data(log, as_chunks):
    train, valid = log[:7_000], log[7_000:]
    given = {"X_val": valid[IDS], "y_val": valid["rating"]}
    if as_chunks:
        given = {"X_val": ChunkedRatings(chunks(valid, size=300))}
    mf = fitted(ChunkedRatings(chunks(train)), max_epochs=60, **given)
    assert mf.n_iter_ == len(mf.validation_curve_) < 60
    error = root_mean_squared_error(
        valid["rating"], MFRegressor.predict(mf.set_params(rating_scale=None), valid[IDS])
    )
    assert error**2 == pytest.approx(min(mf.validation_curve_), rel=0.02)  # that is not clipped


def test_a_part_is_held_out_for_early_stopping(log):
    mf = fitted(ChunkedRatings(chunks(log)), early_stopping=True, max_epochs=60)
    assert mf.n_iter_ == len(mf.validation_curve_) < 60
    assert (mf.seen_ != fitted_in_memory(log).seen_).nnz == 0


@pytest.mark.parametrize("biased", [False, True])
def test_users_that_were_held_out_whole_are_predicted_as_unknown_ones(log, biased):
    rare = log[:500].assign(user=np.arange(500) + 1000)
    parts = chunks(pd.concat([log, rare]))
    mf = fitted(ChunkedRatings(parts), early_stopping=0.3, biased=biased, init_std=0.5)
    is_absent = ~(mf.user_factors_ != 0).any(1)
    assert 100 < is_absent.sum() < 200
    asked = rare[IDS][np.isin(rare["user"], mf.encoder_.categories_[0][is_absent])]
    assert mf.predict(asked) == pytest.approx(mf.predict(asked.assign(user=-1)))


def test_unknown_ids_of_validation_chunks_cause_no_warning(log):
    valid = log[:500].assign(user=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mf = fitted(ChunkedRatings(chunks(log)), X_val=ChunkedRatings(chunks(valid)))
    assert mf.validation_curve_


def test_warm_start_continues(log):
    mf = fitted(ChunkedRatings(chunks(log[:4_000])), warm_start=True)
    mf.fit(ChunkedRatings(chunks(log[4_000:].assign(rating=lambda part: part["rating"] + 1))))
    assert mf.n_iter_ == 8
    assert mf.rating_scale_ == (log["rating"].min(), log["rating"].max() + 1)
    assert mf.seen_.nnz == fitted_in_memory(log).seen_.nnz
    mf.set_params(user=1, item=0)
    with pytest.raises(ValueError, match="other columns than those of the model"):
        mf.fit(ChunkedRatings(chunks(log)))


def test_ctrl_c_keeps_the_model_so_far_and_no_files(log, temporary):
    class CtrlC(Callback):
        def on_batch_end(self, net, **kwargs):
            assert list(temporary.glob("sklrec-*"))
            if len(net.history) == 3:
                raise KeyboardInterrupt

    mf = MFRegressor(n_factors=8, random_state=0, callbacks=[CtrlC()])
    with pytest.warns(UserWarning, match="interrupted after 2 whole"):
        with pytest.raises(KeyboardInterrupt):
            mf.fit(ChunkedRatings(chunks(log)))
    assert mf.predict(log[IDS]).shape == (N,)


def broken(log, **changes):
    """Chunks of which the third has other values."""
    for k, (X, y) in enumerate(chunks(log)):
        yield (X.assign(**changes), y) if k == 2 else (X, y)


FAULTS = {
    "no chunk": (lambda log: [], "This ChunkedRatings holds no ratings. A generator"),
    "one rating": (lambda log: chunks(log[:1]), "minimum of 2 is required by MFRegressor"),
    "nonsense": (lambda log: [*chunks(log), "abc"], "chunk 8 must be a tuple .* got a str"),
    "no table": (lambda log: [(None, [1.0])], "In chunk 0, counting its rows from 0: Expected 2D"),
    "no ratings": (lambda log: [(log[IDS], None)], "In chunk 0, .* requires y to be passed"),
    "lengths": (
        lambda log: [(log[IDS], log["rating"][:5])],
        "In chunk 0, .* inconsistent numbers of samples",
    ),
    "NaN rating": (
        lambda log: chunks(log.assign(rating=log["rating"].where(log.index != 3_004))),
        "In chunk 3, counting .*contains NaN(.|\n)*1 of 1000 are not, the first in row 4",
    ),
    "infinite rating": (
        lambda log: chunks(log.assign(rating=log["rating"].where(log.index != 3_004, np.inf))),
        "In chunk 3, counting .*infinity(.|\n)*first in row 4",
    ),
    "missing ID": (
        lambda log: broken(log, user=[np.nan, *range(999)]),
        "In chunk 2, counting its rows from 0: Input X contains NaN.\nColumn 'user' .* in row 0",
    ),
    "ID without a hash": (
        lambda log: broken(log, user=[[]] * 1_000),
        r"In chunk 2, .*Column 'user' holds \[\], which cannot be",
    ),
    "other kind": (
        lambda log: broken(log, user=["a"] * 1_000),
        r"In chunk 2, .*'user' holds strings \(such as 'a'\) here but integers .* in earl",
    ),
    "other columns": (
        lambda log: broken(log, day=0),
        "In chunk 2, counting its rows from 0: The feature names should match",
    ),
    "weights in some": (
        lambda log: [(log[IDS], log["rating"]), (log[IDS], log["rating"], np.ones(N))],
        "chunk 1 has weights, unlike the chunks before",
    ),
    "no weights in some": (
        lambda log: [(log[IDS], log["rating"], np.ones(N)), (log[IDS], log["rating"])],
        "chunk 1 has no weights, unlike the chunks before",
    ),
    "negative weight": (
        lambda log: [(log[IDS], log["rating"], -np.ones(N))],
        "In chunk 0, .*Negative values",
    ),
    "weights of other sizes": (
        lambda log: chunks(log, weight=np.where(np.arange(N) < 5_000, 1.0, 1e31)),
        r"In chunk 5, .* largest sample_weight is 1e\+31 here and 1 in the first chunk",
    ),
    "weights of smaller sizes": (
        lambda log: chunks(log, weight=np.where(np.arange(N) < 5_000, 1.0, 1e-31)),
        "In chunk 5, .* largest sample_weight is 1e-31 here and 1 in the first chunk",
    ),
}


@pytest.mark.parametrize(("make", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_leaves_the_estimator_unchanged(log, make, message):
    mf = fitted_in_memory(log)
    with unchanged(mf, log), pytest.raises((ValueError, TypeError), match=message):
        mf.fit(ChunkedRatings(make(log)))


@pytest.mark.parametrize("error", [ConnectionError, KeyboardInterrupt])
def test_errors_of_the_iterable_pass_through(log, error):
    def failing():
        yield from chunks(log[:2_000])
        raise error("gone")

    mf = fitted_in_memory(log)
    with unchanged(mf, log), pytest.raises(error, match="gone"):
        mf.fit(ChunkedRatings(failing()))


def test_a_fault_in_the_validation_chunks_is_named(log):
    for make, message in (
        (lambda: broken(log, item=np.nan), "In X_val, chunk 2, counting"),
        (lambda: [], "X_val holds no ratings"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted(ChunkedRatings(chunks(log)), X_val=ChunkedRatings(make()))


@contextmanager
def largest_file(n_bytes):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_no_files(log, temporary):
    mf = fitted_in_memory(log)
    message = rf"could not be written to {temporary}.*TMPDIR"
    with unchanged(mf, log), largest_file(100), pytest.raises(OSError, match=message):
        mf.fit(ChunkedRatings(chunks(log)))


def test_ratings_and_weights_must_not_be_passed_twice(log):
    source = ChunkedRatings(chunks(log))
    mf = MFRegressor()
    with pytest.raises(ValueError, match=r"y was passed, but the ChunkedRatings .* Leave y out"):
        mf.fit(source, log["rating"])
    with pytest.raises(ValueError, match="sample_weight was passed, but the ChunkedRatings"):
        mf.fit(source, sample_weight=np.ones(N))
    with pytest.raises(ValueError, match="y_val was passed, but the ChunkedRatings"):
        mf.fit(source, X_val=source, y_val=log["rating"])
    with pytest.raises(ValueError, match="X_val is provided, but y_val was not provided"):
        mf.fit(source, X_val=log[IDS])


@pytest.mark.parametrize("early_stopping", [0.001, 0.999])
def test_both_parts_of_a_split_must_hold_ratings(log, early_stopping):
    text = f"early_stopping={early_stopping} holds out .* of 5 ratings, .* two parts empty"
    with pytest.raises(ValueError, match=text):
        fitted(ChunkedRatings(chunks(log[:5])), early_stopping=early_stopping)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (
            MFRegressor(svdpp=True),
            r"MFRegressor\(svdpp=True\) needs all ratings .* svdpp=False",
        ),
        (
            DenseRecRegressor(),
            r"DenseRecRegressor\(\) needs all ratings .* Use MFRegressor",
        ),
        (BiasRegressor(), r"BiasRegressor\(\) needs all ratings at once"),
        (BayesianMFRegressor(), r"BayesianMFRegressor\(\) needs all ratings at once"),
        (SequenceRatingRegressor(), r"SequenceRatingRegressor\(\) needs all ratings at once"),
    ],
)
def test_other_estimators_need_all_ratings_at_once(log, estimator, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit(ChunkedRatings(chunks(log)), None)


def test_other_methods_ask_for_one_chunk(log):
    mf = fitted_in_memory(log)
    source = ChunkedRatings(chunks(log))
    for call in (
        lambda: mf.predict(source),
        lambda: mf.partial_fit(source, log["rating"]),
        lambda: mf.fit(log[IDS], log["rating"], X_val=source, y_val=log["rating"]),
    ):
        with pytest.raises(ValueError, match="Only X of fit may be a whole ChunkedRatings"):
            call()
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        mf.fit(log[IDS])


@pytest.mark.parametrize("size", [1e-300, 1e60])
def test_only_the_proportions_of_weights_matter(log, size):
    weight = np.random.default_rng(0).uniform(1, 2, len(log))
    expected = fitted(ChunkedRatings(chunks(log, weight=weight))).loss_curve_
    scaled = fitted(ChunkedRatings(chunks(log, weight=size * weight))).loss_curve_
    assert scaled == pytest.approx(expected, rel=1e-5)
