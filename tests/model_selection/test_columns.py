"""Rules of all splitters: scikit-learn's protocol, columns, and warnings."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, check_cv, cross_val_score, cross_validate
from sklearn.utils.metadata_routing import get_routing_for_object

from sklrec import model_selection as ms
from sklrec.datasets import make_ratings

SPLITTERS = [
    ms.ColdItemKFold(3),
    ms.ColdItemKFold(3, shuffle=True, random_state=0),
    ms.ColdItemShuffleSplit(3, random_state=0),
    ms.ColdUserKFold(3),
    ms.ColdUserKFold(3, shuffle=True, random_state=0),
    ms.ColdUserShuffleSplit(3, random_state=0),
    ms.GlobalTimeSplit(3),
    ms.LastInteractionsSplit(3),
    ms.LastInteractionsSplit(3, random_state=0),
    ms.UserStratifiedKFold(3),
    ms.UserStratifiedKFold(3, shuffle=True, random_state=0),
]
DRAWING = [splitter for splitter in SPLITTERS if getattr(splitter, "random_state", None) == 0]
# Splitters whose splits do not depend on the order of the rows.
ORDERLESS = SPLITTERS[:8]


def parts(splitter, X, *args):
    return [(train.tolist(), test.tolist()) for train, test in splitter.split(X, *args)]


def with_random_state(splitter, random_state):
    return type(splitter)(**{**vars(splitter), "random_state": random_state})


@pytest.fixture(scope="module")
def Xy():
    X, y = make_ratings(30, 20, 400, random_state=0)
    return X.drop_duplicates("timestamp"), y[~X["timestamp"].duplicated()]


def test_every_splitter_is_tested():
    assert {type(splitter).__name__ for splitter in SPLITTERS} == set(ms.__all__)


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_splitters_follow_the_protocol_of_scikit_learn(splitter, Xy):
    X, y = Xy
    before = vars(splitter).copy()
    n_splits = 1 if isinstance(splitter, ms.LastInteractionsSplit) else 3
    assert splitter.get_n_splits() == splitter.get_n_splits(X, y, y) == n_splits
    assert check_cv(splitter) is splitter
    copied = clone(splitter, safe=False)
    assert vars(copied) == before and repr(copied) == repr(splitter)
    assert repr(splitter).startswith(f"{type(splitter).__name__}(")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an ordinary log is split without a warning
        splits = list(splitter.split(X, y))
        scores = cross_val_score(DummyRegressor(), X, y, cv=splitter)
    assert len(splits) == len(scores) == n_splits
    for train, test in splits:
        assert train.dtype.kind == test.dtype.kind == "i"
        assert len(train) and len(test) and not np.intersect1d(train, test).size
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
    search = GridSearchCV(DummyRegressor(), {"strategy": ["mean", "median"]}, cv=splitter)
    assert search.fit(X, y).n_splits_ == n_splits
    assert vars(splitter) == before


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_groups_are_ignored_with_a_warning(splitter, Xy):
    X, y = Xy
    name = type(splitter).__name__
    text = f"{name} ignores the parameter groups: it reads the columns of X"
    with pytest.warns(UserWarning, match=text) as caught:
        assert parts(splitter, X, y, X["user"]) == parts(splitter, X)
    assert {warning.filename for warning in caught} == {__file__}
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        with pytest.warns(UserWarning, match=text):
            list(splitter.split(X, y, X["user"][1:]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        list(splitter.split(X, y[1:]))


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_metadata_routing_passes_no_groups(splitter, Xy):
    X, y = Xy
    assert not hasattr(splitter, "set_split_request")
    with sklearn.config_context(enable_metadata_routing=True):
        assert get_routing_for_object(splitter).split.requests == {}
        assert len(cross_val_score(DummyRegressor(), X, y, cv=splitter)) > 0
        with pytest.raises(TypeError, match=r"got unexpected argument\(s\) {'groups'}"):
            cross_validate(DummyRegressor(), X, y, cv=splitter, params={"groups": X["user"]})


@pytest.mark.parametrize("splitter", DRAWING, ids=repr)
def test_random_state_decides_the_splits(splitter, Xy):
    X, _ = Xy
    X = X.assign(timestamp=X["timestamp"].rank(method="first") // 20)  # ties, for a random order
    assert parts(splitter, X) == parts(splitter, X)
    assert parts(splitter, X) != parts(with_random_state(splitter, 1), X)
    advancing = with_random_state(splitter, np.random.RandomState(0))
    assert parts(splitter, X) == parts(advancing, X) != parts(advancing, X)
    with pytest.raises(ValueError, match=r"'x' cannot be used to seed a numpy.*instance$"):
        parts(with_random_state(splitter, "x"), X)
    if not isinstance(splitter, ms.LastInteractionsSplit):
        drawn = with_random_state(splitter, None)
        assert parts(drawn, X) != parts(drawn, X)


@pytest.mark.parametrize("splitter", ORDERLESS, ids=repr)
def test_the_order_of_rows_does_not_matter(splitter, Xy):
    X, _ = Xy
    mixed = [f"{user}" if user % 2 else user for user in X["user"]]
    X = X.assign(user=pd.Series(mixed, X.index, dtype=object)).reset_index(drop=True)
    shuffled = X.sample(frac=1, random_state=0)
    names = shuffled.index.to_numpy()
    expected = parts(splitter, X)
    found = [
        (sorted(names[train].tolist()), sorted(names[test].tolist()))
        for train, test in splitter.split(shuffled)
    ]
    assert found == expected


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_columns_by_position_or_name(splitter, Xy):
    X, _ = Xy
    expected = parts(splitter, X)
    reads = {"user": "who", "item": "what", "timestamp": "when"}
    reads = {name: new for name, new in reads.items() if hasattr(splitter, name)}
    renamed = X.rename(columns=reads)
    by_name = type(splitter)(**{**vars(splitter), **reads})
    assert parts(by_name, renamed[renamed.columns[::-1]]) == expected
    positions = {name: "user item timestamp".split().index(name) for name in reads}
    by_position = type(splitter)(**{**vars(splitter), **positions})
    assert parts(by_position, X.to_numpy()) == expected
    assert parts(by_position, X.to_numpy().tolist()) == expected
    for name in reads:
        wrong = type(splitter)(**{**vars(splitter), name: "nobody"})
        with pytest.raises(ValueError, match="Column 'nobody' was asked for, but X has no colu"):
            parts(wrong, X)
        wrong = type(splitter)(**{**vars(splitter), name: 3})
        with pytest.raises(ValueError, match="Column 3 was asked for, but X has 3 columns"):
            parts(wrong, X)
        wrong = type(splitter)(**{**vars(splitter), name: 1.0})
        with pytest.raises(TypeError, match="A column is given by its position"):
            parts(wrong, X)


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_ids_of_any_kind(splitter, Xy):
    X, _ = Xy
    expected = parts(splitter, X)
    for convert in (
        lambda ids: ids.map("{:03}".format),
        lambda ids: ids.map("{:03}".format).astype("category"),
        lambda ids: ids.astype("Int64"),
        lambda ids: ids / 2,
    ):
        changed = X.assign(user=convert(X["user"]), item=convert(X["item"]))
        assert parts(splitter, changed) == expected
    unsortable = X.assign(user=[(i,) if i % 2 else str(i) for i in X["user"]])
    assert len(parts(splitter, unsortable)) == len(expected)


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_tables_without_rows_or_ids_are_refused(splitter, Xy):
    X, _ = Xy
    with pytest.raises(ValueError, match=f"minimum of 1 is required by {type(splitter).__name__}"):
        parts(splitter, X[:0])
    for name in ("user", "item"):
        if hasattr(splitter, name):
            with pytest.raises(ValueError, match=f"Column '{name}' holds nan in row 0"):
                parts(splitter, X.assign(**{name: X[name].where(np.arange(len(X)) > 0)}))


@pytest.mark.parametrize("fold", [ms.ColdItemKFold, ms.ColdUserKFold, ms.UserStratifiedKFold])
@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"n_splits": 1}, ValueError, "by setting n_splits=2 or more, got n_splits=1"),
        ({"n_splits": 2.5}, ValueError, r"The number of folds must be of Integral type\. 2\.5 of"),
        ({"shuffle": 1}, TypeError, "shuffle must be True or False; got 1"),
        ({"n_splits": 2, "random_state": 0}, ValueError, "Setting a random_state has no effect"),
    ],
)
def test_parameters_of_folds_are_checked(fold, parameters, error, text, Xy):
    with pytest.raises(error, match=text):
        parts(fold(**parameters), Xy[0])


class TestContradictingOrder:
    """timestamp=None, although a column named `timestamp` has another order."""

    X = pd.DataFrame({"user": [1, 1, 1, 2, 2, 2], "timestamp": [3, 4, 5, 0, 1, 2]})
    whole, of_users = (
        ms.GlobalTimeSplit(1, timestamp=None),
        ms.LastInteractionsSplit(1, timestamp=None),
    )

    @pytest.mark.parametrize(
        "splitter", [ms.GlobalTimeSplit(1), ms.LastInteractionsSplit()], ids=repr
    )
    def test_a_missing_timestamp_is_named(self, splitter):
        with pytest.raises(
            ValueError,
            match=f"{type(splitter).__name__} sorts interactions by time, but X has no column "
            r"named 'timestamp'\. Give timestamp= the position",
        ):
            parts(splitter, self.X[["user", "user"]].to_numpy())

    def test_a_warning_names_the_contradiction(self):
        text = (
            "With timestamp=None GlobalTimeSplit assumes that rows are in the order of time, but "
            r"the column 'timestamp' of X has another order\. Leave timestamp='auto', or sort X"
        )
        with pytest.warns(UserWarning, match=text):
            assert parts(self.whole, self.X) == [([0, 1, 2], [3, 4, 5])]
        with pytest.warns(UserWarning, match="With timestamp=None LastInteractionsSplit"):
            assert parts(self.of_users, self.X[::-1]) == [([0, 1, 3, 4], [2, 5])]

    @pytest.mark.parametrize("splitter", [whole, of_users], ids=repr)
    @pytest.mark.parametrize(
        "X",
        [
            X.sort_values("timestamp"),
            X.assign(timestamp=0),
            X.assign(timestamp=list("fedcba")),
            X.rename(columns={"timestamp": "when"})[::-1],
            X.to_numpy()[::-1],
        ],
        ids=["sorted", "all tied", "text", "another name", "no names"],
    )
    def test_no_warning_without_a_contradiction(self, splitter, X):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parts(splitter, X)
            parts(self.of_users, self.X)
