"""Wrong and unusual networks: each gives a right result, or an error that says what to change."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from functools import partial

import cloudpickle
import numpy as np
import pytest
import torch
from networks import Factors, Remembering
from torch import nn
from torch.nn import functional as F

import sklrec
from sklrec import ModuleRecRegressor
from sklrec.datasets import make_ratings

# Fewer items than users, so that a table of users is long enough for items.
X, Y = make_ratings(40, 30, 400, random_state=0)
IDS = X[["user", "item"]]


def own(module, **params):
    defaults = {"max_epochs": 2, "batch_size": 200, "random_state": 0, "output": "residual"}
    return ModuleRecRegressor(module, **defaults | params)


def with_forward(forward, setup=lambda self: None):
    """Make a network of a forward and of further steps of the constructor."""

    class Wrong(Factors):
        def __init__(self, n_users, n_items):
            super().__init__(n_users, n_items)
            setup(self)

    Wrong.forward = forward
    forward.__qualname__ = "Wrong.forward"
    return Wrong


def dot(self, users, items):
    return Factors.forward(self, users, items)


class Short(nn.Module):
    def __init__(self, n_users, n_items):
        super().__init__()
        self.users, self.items = nn.Embedding(n_users, 2), nn.Embedding(n_items, 2)

    def forward(self, users, items):
        return (self.users(users) * self.items(items)).sum(1)


class OneHot(nn.Module):
    def __init__(self, n_users, n_items):
        super().__init__()
        self.layer = nn.Linear(n_items, 1)

    def forward(self, users, items):
        return self.layer(F.one_hot(items, self.layer.in_features).float())


class Zeros(Factors):
    def __init__(self, n_users, n_items):
        super().__init__(n_users, n_items)
        for table in self.parameters():
            nn.init.zeros_(table)

    def forward(self, users, items):
        return (self.users(users) * self.items(items)).sum(1)


class Distance(Zeros):
    def forward(self, users, items):
        return (self.users(users) - self.items(items)).square().sum(1).sqrt()


class NoForward(nn.Module):
    def __init__(self, n_users, n_items):
        super().__init__()


class Positional(Factors):
    def forward(self, users, items, /):
        return super().forward(users, items)


class Functional(Factors):
    def forward(self, users, items):
        return F.embedding(users, self.users.weight, sparse=True)[:, 0] + self.items(items)[:, 0]


def without_grad(self, users, items):
    with torch.no_grad():
        return dot(self, users, items)


def changing(self, users, items):
    items.clamp_(max=5)
    return dot(self, users, items)


def failing(self, users, items):
    raise ValueError("my own error")


def mean_in_training(self, users, items):
    return dot(self, users, items).mean() if self.training else dot(self, users, items)


def keeping(self, users, items):
    self.last = dot(self, users, items)
    return self.last


FORWARD = r"got Wrong\.forward\(self, users, items\)"
ROWS = r"from Wrong\.forward\(self, users, items\)\. Write forward\(self, users, items\), also"
ALONE = "must depend on this row only, but it changed when other rows were left out, " + FORWARD
TABLES = r"Tables need n_users \+ 1 and n_items \+ 1 rows, because code 0 stands for unknown IDs"
# Networks, and the messages of fit.
WRONG_FORWARD = {
    "matrix": (
        lambda self, users, items: self.users(users),
        r"got the shape \(6, 8\) for 6 rows " + ROWS,
    ),
    "number": (
        lambda self, users, items: dot(self, users, items).sum(),
        r"the shape \(\) for 6 rows " + ROWS,
    ),
    "all items": (
        lambda self, users, items: self.items.weight.sum(1),
        r"shape \(31,\) for 6 rows " + ROWS,
    ),
    "broadcast": (
        lambda self, users, items: dot(self, users, items) + self.item_offsets(items),
        r"the shape \(6, 6\) for 6 rows " + ROWS,
    ),
    "fewer rows": (
        lambda self, users, items: dot(self, users, items)[users > 0],
        r"shape \(4,\) for 6 rows " + ROWS,
    ),
    "training": (mean_in_training, r"the shape \(\) for 200 rows " + ROWS),
    "numpy": (
        lambda self, users, items: dot(self, users, items).detach().numpy(),
        "must return a tensor, got ndarray " + ROWS,
    ),
    "tuple": (
        lambda self, users, items: (dot(self, users, items), 0),
        "must return a tensor, got tuple " + ROWS,
    ),
    "integers": (
        lambda self, users, items: dot(self, users, items).long(),
        "must return floats, got torch.int64 from Wrong",
    ),
    "names": (
        lambda self, user, item: dot(self, user, item),
        r"has the argument user, which is not known, got Wrong\.forward\(self, user, "
        r"item\)\. Arguments are passed by name",
    ),
    "no IDs": (
        lambda self, **more: dot(self, **more),
        r"must read users and items, got Wrong\.forward\(self, \*\*more\)",
    ),
    "both": (
        lambda self, users, items, features, histories: None,
        r"features or histories, but not both, got Wrong.forward\(self, users, items, "
        r"features, histories\)\. Drop one",
    ),
    "features": (
        lambda self, users, items, features: features["numeric"],
        r"KeyError: 'numeric'\. It was called with users \(6,\), items \(6,\), features "
        r"\{\}\. X has no side features",
    ),
    "numeric": (
        lambda self, users, items, numeric: numeric,
        "X has no numeric features: add columns to X",
    ),
    "ignores users": (
        lambda self, users, items: self.items(items).sum(1),
        "takes users, but its result does not depend on them, " + FORWARD,
    ),
    "ignores items": (
        lambda self, users, items: self.users(users).sum(1),
        "takes items, but its result does not depend on them, " + FORWARD,
    ),
    "wrong table": (
        lambda self, users, items: (
            (self.users(items) * self.items(items)).sum(1) + self.user_offsets(users)[:, 0]
        ),
        r"users\.weight has n_users \+ 1 rows, but forward looks up items in it, " + FORWARD,
    ),
    "swapped": (
        lambda self, users, items: dot(self, items, users),
        r"IndexError: index out of range in self\. .*" + TABLES,
    ),
    "nan": (
        lambda self, users, items: dot(self, users, items) * torch.nan,
        "must return finite numbers, got nan in 6 of 6 rows before any training from Wrong",
    ),
    "no grad": (
        without_grad,
        f"returns values that no parameter has a part in, {FORWARD}. Do not call detach",
    ),
    "detach": (lambda self, users, items: dot(self, users, items).detach(), "Do not call detach"),
    "dropout": (
        lambda self, users, items: (
            F.dropout(self.users(users), 0.5)[:, 0] + self.items(items)[:, 0]
        ),
        ALONE,
    ),
    "mean over rows": (
        lambda self, users, items: dot(self, users, items) - dot(self, users, items).mean(),
        ALONE,
    ),
    "softmax over rows": (lambda self, users, items: dot(self, users, items).softmax(0), ALONE),
    "hidden broadcast": (
        lambda self, users, items: (dot(self, users, items) + self.item_offsets(items)).mean(1),
        ALONE,
    ),
    "noise": (lambda self, users, items: dot(self, users, items) + torch.randn(len(users)), ALONE),
    "in place": (
        changing,
        f"must not change its arguments, but it changed items, {FORWARD}. Work on a copy",
    ),
    "own error": (
        failing,
        FORWARD + ", which failed with ValueError: my own error. It was called with users",
    ),
    "keeps a result": (
        keeping,
        r"must not keep results of its parameters, got last in Wrong\. Compute it",
    ),
}


@pytest.mark.parametrize("name", WRONG_FORWARD)
def test_a_wrong_forward_is_refused(name):
    forward, message = WRONG_FORWARD[name]
    model = own(with_forward(forward))
    with pytest.raises(ValueError, match=message):
        model.fit(IDS, Y)
    assert not hasattr(model, "module_")


def layer_of(n_inputs):
    def setup(self):
        self.layer = nn.Linear(n_inputs, 1)

    return with_forward(
        lambda self, users, items: self.layer(self.users(users) * self.items(items)), setup
    )


WRONG_MODULES = {
    "object": (
        Factors(40, 30),
        ValueError,
        r"got an object of Factors\. Pass the class: module=Factors, with its",
    ),
    "partial of an object": (
        partial(Factors(40, 30)),
        ValueError,
        "got an object of Factors. Pass the class",
    ),
    "compiled object": (
        torch.compile(Factors(40, 30), backend="eager"),
        ValueError,
        "got an object of Factors. Pass the class",
    ),
    "string": (
        "Factors",
        ValueError,
        "must be an nn.Module subclass, or a function that .* got 'Factors'",
    ),
    "other class": (dict, ValueError, "must be an nn.Module subclass, .* got <class 'dict'>"),
    "none": (
        lambda n_users, n_items: None,
        ValueError,
        r"<lambda>\(n_users, n_items\) returned NoneType\. Return the",
    ),
    "no sizes": (
        nn.Linear,
        ValueError,
        r"must take n_users and n_items, .* got Linear\(in_features",
    ),
    "no forward": (NoForward, ValueError, "NoForward has no forward. Write forward"),
    "positional": (
        Positional,
        ValueError,
        r"argument users, which is positional-only, got Positional\.forward\(self, users, "
        r"items, /\)",
    ),
    "short tables": (
        Short,
        ValueError,
        "for the codes 0 to 40 of users and 0 to 30 of items, got Short.forward.*" + TABLES,
    ),
    "one-hot": (
        OneHot,
        ValueError,
        "got OneHot.forward.* RuntimeError: Class values must be smaller.*" + TABLES,
    ),
    "zeros": (
        Zeros,
        ValueError,
        "let tables that are multiplied start with random numbers in place of 0",
    ),
    "root of 0": (
        Distance,
        ValueError,
        "Gradients must be finite, got one of users.weight that is not, in Distance",
    ),
    "constructor": (
        lambda n_users, n_items: nn.Embedding(-1, 2),
        ValueError,
        r"<lambda>\(n_users, n_items\) failed with RuntimeError: .* of which n_users=40 "
        r"and n_items=30",
    ),
    "sizes of layers": (
        layer_of(9),
        ValueError,
        r"RuntimeError: mat1 and mat2 .* called with users \(6,\), items \(6,\)",
    ),
    "half": (
        lambda n_users, n_items: Factors(n_users, n_items).half(),
        ValueError,
        "must be float32 or float64, got users.weight of torch.float16 in Factors. Call float",
    ),
    "meta": (
        lambda n_users, n_items: Factors(n_users, n_items).to("meta"),
        ValueError,
        "got users.weight on the device 'meta' of Factors. Make it on the CPU",
    ),
    "frozen": (
        lambda n_users, n_items: Factors(n_users, n_items).requires_grad_(False),
        ValueError,
        "let some parameters have requires_grad=True",
    ),
    "sparse function": (
        Functional,
        ValueError,
        r"Only layers such as nn\.Embedding\(\.\.\., sparse=True\) may have sparse "
        r"gradients, got users.weight in",
    ),
    "histories": (
        lambda n_users, n_items: Remembering(n_users, n_items, 9),
        ValueError,
        r"reads histories, .* <lambda>\(n_users, n_items\) does not say so\. Give it the "
        r"argument max_len, or the return annotation -> Rem",
    ),
    "missing": (
        lambda n_users, n_items, size: None,
        ValueError,
        r"needs a value for size, got <lambda>\(n_users, n_items, size\)\. Set module__size",
    ),
}


@pytest.mark.parametrize("name", WRONG_MODULES)
def test_a_wrong_module_is_refused(name):
    module, error, message = WRONG_MODULES[name]
    with pytest.raises(error, match=message):
        own(module).fit(IDS, Y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"module__q": 1},
            r"module__q was set, but the module takes no argument q, got Factors\(",
        ),
        (
            {"module__n_users": 9},
            "cannot be set, because the estimator gives the module its n_users",
        ),
        ({"module__max_len": 9}, "Drop it, or set max_len of the estimator"),
    ],
)
def test_parameters_of_the_module_that_it_does_not_take(params, message):
    with pytest.raises(ValueError, match=message):
        own(Remembering if "module__max_len" in params else Factors, **params).fit(X, Y)


def test_parameters_without_the_prefix():
    with pytest.raises(
        TypeError, match=r"no parameter n_factors. .* prefix module__: module__n_fa"
    ):
        ModuleRecRegressor(Factors, n_factors=3)
    with pytest.raises(ValueError, match="Invalid parameter 'n_factors'"):
        own(Factors).set_params(n_factors=3)


class Late(Factors):
    """A network whose output is not finite after some steps."""

    def __init__(self, n_users, n_items):
        super().__init__(n_users, n_items)
        self.register_buffer("n_left", torch.tensor(4.0))

    def forward(self, users, items):
        if self.training:
            self.n_left -= 1
        return super().forward(users, items) + torch.log(self.n_left)


@pytest.mark.parametrize("lr", ["auto", 0.01])
def test_a_training_that_is_not_finite_names_the_network(lr):
    message = f"The training of Late diverged with lr={lr!r}: .* look for log or sqrt of numbers"
    with pytest.raises(ValueError, match=message):
        own(Late, lr=lr, max_epochs=4).fit(IDS, Y)


def test_predictions_that_are_not_finite_are_refused():
    class Rare(Factors):
        def forward(self, users, items):
            found = super().forward(users, items)
            return found if self.training else found.masked_fill(users == 7, torch.inf)

    model = own(Rare).fit(IDS, Y)
    user = model.encoder_.categories_[0][6]
    n = (IDS["user"] == user).sum()
    with pytest.raises(
        ValueError, match=f"finite numbers, got inf in {n} of 400 rows from Rare.f"
    ):
        model.predict(IDS)
    with pytest.raises(ValueError, match="finite numbers, got inf in 30 of 30 rows from Rare"):
        model.recommend([user])
    assert np.isfinite(model.predict(IDS[IDS["user"] != user])).all()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (
            lambda table, codes: table(codes),
            r"product of .* must be the output of forward.*, got -?",
        ),
        (
            lambda table, codes: table(codes)[:, : len(table.weight) - 33],
            "as many columns as each",
        ),
        (
            lambda table, codes: table.weight,
            r"shape \(\d+, n_columns\) for \d+ codes, got \(41, 8",
        ),
        (lambda table, codes: table(codes).numpy(), "n_columns.* got ndarray"),
        (lambda table, codes: table(codes) * torch.nan, "must return finite numbers"),
    ],
)
def test_wrong_vectors_are_refused(vectors, message):
    class Wrong(Factors):
        def user_vectors(self, users):
            return vectors(self.users, users)

        def item_vectors(self, items):
            return vectors(self.items, items)

    with pytest.raises(ValueError, match=message):
        own(Wrong).fit(IDS, Y).recommend([1, 2])


# --- unusual networks that work


class OfKeywords(Factors):
    def __init__(self, **sizes):
        super().__init__(**sizes)

    def forward(self, items, users, **more):
        return super().forward(users, items)


class Parameters(nn.Module):
    def __init__(self, n_users, n_items, dtype=torch.float32):
        super().__init__()
        self.users = nn.Parameter(torch.randn(n_users + 1, 4, dtype=dtype))
        self.tables = nn.ParameterDict({"of_items": torch.zeros(n_items + 1, 4, dtype=dtype)})
        self.offsets = nn.Parameter(torch.zeros(n_items + 1, dtype=dtype))

    def forward(self, users, items):
        return (self.users[users] * self.tables["of_items"][items]).sum(1) + self.offsets[items]


class Bags(nn.Module):
    def __init__(self, n_users, n_items):
        super().__init__()
        self.users = nn.EmbeddingBag(n_users + 1, 4, mode="sum", sparse=True)
        self.items = nn.EmbeddingBag(n_items + 1, 4)

    def forward(self, users, items):
        return (self.users(users.unsqueeze(1)) * self.items(items.unsqueeze(1))).sum(1)


class Counting(Factors):
    """A network with buffers that training changes."""

    def __init__(self, n_users, n_items):
        torch.manual_seed(3)
        super().__init__(n_users, n_items)
        self.register_buffer("n_rated", torch.zeros(n_items + 1))
        self.register_buffer("n_steps", torch.tensor(0), persistent=False)

    def forward(self, users, items):
        if self.training:
            self.n_rated.index_add_(0, items, torch.ones(len(items)))
            self.n_steps += 1
        return super().forward(users, items) + 0.01 * self.n_rated[items].log1p()


class Normalised(Factors):
    def __init__(self, n_users, n_items):
        super().__init__(n_users, n_items)
        self.norm, self.layer = nn.BatchNorm1d(8), nn.LazyLinear(1)

    def forward(self, users, items):
        return self.layer(self.norm(self.users(users) * self.items(items)))


class Pretrained(Factors):
    """Factors of users that are not trained, and a frozen parameter of integers."""

    def __init__(self, n_users, n_items):
        super().__init__(n_users, n_items)
        table = torch.arange(8.0 * (n_users + 1)).view(-1, 8).sin()
        self.users = nn.Embedding.from_pretrained(table)
        self.order = nn.Parameter(torch.arange(3), requires_grad=False)


class Loop(Factors):
    def forward(self, users, items):
        pairs = zip(users.tolist(), items.tolist(), strict=True)
        return torch.stack([self.users.weight[a] @ self.items.weight[b] for a, b in pairs])


class OnlyItems(Factors):
    def forward(self, items):
        return self.item_offsets(items)


def annotated(n_users, n_items, max_len=4) -> "Factors":
    return Factors(n_users, n_items)


def unreadable(n_users, n_items) -> "NotImported":  # noqa: F821 - as under TYPE_CHECKING
    return Factors(n_users, n_items)


def compiled(n_users, n_items):
    return torch.compile(Factors(n_users, n_items), backend="eager")


class Factory:
    def __call__(self, n_users, n_items):
        return Factors(n_users, n_items)


UNUSUAL = [OfKeywords, Parameters, Bags, Counting, Normalised, Pretrained, Loop, OnlyItems]
UNUSUAL += [annotated, unreadable, compiled, Factory(), partial(Factors, n_factors=3)]
UNUSUAL += [
    partial(Parameters, dtype=torch.float64),
    lambda n_users, n_items: Bags(n_users, n_items),
]


@pytest.mark.parametrize("module", UNUSUAL, ids=lambda m: re.sub(r"(\w+\.| at 0x\w+)", "", str(m)))
def test_unusual_networks_are_trained_copied_and_continued(module, tmp_path):
    before = torch.get_rng_state()
    model = own(module, max_epochs=5).fit(IDS, Y)
    assert torch.equal(torch.get_rng_state(), before)
    predictions = model.predict(IDS)
    assert np.sqrt(np.mean((predictions - Y) ** 2)) < 1.05 * Y.std()
    assert np.ptp(predictions) > 0
    copies = [cloudpickle.loads(cloudpickle.dumps(model))]
    if isinstance(module, type) or type(module) is type(compiled):
        sklrec.save(model, tmp_path / "model")
        known = {module.__qualname__: module}
        copies.append(sklrec.load(tmp_path / "model", custom_objects=known))
    for other in copies:
        assert np.array_equal(other.predict(IDS), predictions)
        assert other.recommend([1]).equals(model.recommend([1]))
    n_users = model.n_users_
    before = dict(model.module_.named_parameters())
    model.partial_fit(IDS[:9].assign(user=[901, 902, 903] * 3, item=[1, 2, 901] * 3), Y[:9])
    assert model.n_users_ == n_users + 3 and np.isfinite(model.predict(IDS)).all()
    for name, values in model.module_.named_buffers():
        if name.endswith("n_rated"):
            assert len(values) == 32 and values.sum() == 9 + 5 * len(IDS)
    for name, values in model.module_.named_parameters():
        if not values.requires_grad and values.ndim == 2:
            assert torch.equal(values[: n_users + 1], before[name])


class Tied(nn.Module):
    """One table of users and items."""

    def __init__(self, n_users, n_items, sparse=False):
        super().__init__()
        self.n_users = n_users
        self.table = nn.Embedding(n_users + n_items + 2, 8, sparse=sparse)
        self.offsets = nn.Embedding(n_users + n_items + 2, 1, sparse=sparse)

    def forward(self, users, items):
        items = items + self.n_users + 1
        offsets = self.offsets(users) + self.offsets(items)
        return (self.table(users) * self.table(items)).sum(1, keepdim=True) + offsets


@pytest.mark.parametrize("sparse", [False, True])
def test_a_table_of_users_and_items_is_trained_but_cannot_grow(sparse):
    model = own(Tied, max_epochs=20, module__sparse=sparse).fit(IDS, Y)
    assert np.sqrt(np.mean((model.predict(IDS) - Y) ** 2)) < 0.95 * Y.std()
    with pytest.raises(
        ValueError, match=r"whose table.weight has the shape \(72, 8\), but the netw"
    ):
        model.partial_fit(IDS[:3].assign(user=999), Y[:3])
    with pytest.raises(
        ValueError, match=r"Tied has no table of items .* or the method item_vectors"
    ):
        model.similar_items([1])
    model.partial_fit(IDS[:3], Y[:3])


@pytest.mark.parametrize(
    "table", [IDS.assign(user=1, item=1), IDS.assign(user=1), IDS.assign(item=1)]
)
def test_one_user_or_one_item(table):
    model = own(Factors).fit(table, Y)
    assert np.sqrt(np.mean((model.predict(table) - Y) ** 2)) < 1.05 * Y.std()
    more = model.partial_fit(table[:9].assign(user=[1, 2, 3] * 3, item=[4, 5, 6] * 3), Y[:9])
    assert np.isfinite(more.predict(table)).all()


@pytest.mark.parametrize("is_swapped", [False, True])
def test_tables_of_as_many_users_as_items_keep_their_owners(is_swapped):
    class Equal(nn.Module):
        def __init__(self, n_users, n_items):
            super().__init__()
            self.a, self.b = nn.Embedding(n_users + 1, 4), nn.Embedding(n_items + 1, 4)
            self.c = nn.Parameter(torch.zeros(n_items + 1))

        def forward(self, users, items):
            if is_swapped:
                users, items = items, users
            return (self.a(users) * self.b(items)).sum(1) + self.c[items]

    square = IDS.assign(user=IDS["item"] + 100).iloc[::-1].reset_index(drop=True)
    square["item"] = IDS["item"]
    model = own(Equal).fit(square, Y)
    assert model.n_users_ == model.n_items_
    first, second = ("item", "user") if is_swapped else ("user", "item")
    assert model.module_.tables == {
        "network.a.weight": first,
        "network.b.weight": second,
        "network.c": second,
    }


def test_a_batch_of_one_row_names_the_batch_size():
    with pytest.raises(
        ValueError, match=r"more than 1 value per channel .* set another batch_size"
    ):
        own(Normalised, batch_size=57).fit(IDS, Y)
