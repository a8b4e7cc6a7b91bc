"""myFM: a Bayesian factorisation machine on one-hot IDs, SVD++ terms and side features."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from myfm import MyFMOrderedProbit, MyFMRegressor, RelationBlock
from myfm.utils.encoders import MultipleValuesToSparseEncoder
from scipy.sparse import csr_matrix, hstack
from sklearn.preprocessing import OneHotEncoder, normalize


class Design:
    """Matrix of the context of each row, and a block each for users and for items.

    If users and items have IDs only, the matrix holds the IDs, and there are no blocks.
    """

    def __init__(self, ids, side, svdpp, features, multi_valued):
        self.features = features
        self.context = [name for name in side if name not in features[0] + features[1]]
        self.encode_ids = [one_hot(own) for own in ids]
        self.encode = {
            name: several_hot(side[name], multi_valued[name])
            if name in multi_valued
            else one_hot(side[name])
            for name in side
        }
        self.partners = None
        if svdpp:
            users, items = (encode(own) for encode, own in zip(self.encode_ids, ids, strict=True))
            met = csr_matrix(users.T @ items)
            # rows of unit length: each entry is 1 / sqrt(number of entries)
            self.partners = [normalize(table, norm="l2") for table in (met, met.T.tocsr())]

    def __call__(self, ids, side):
        """Matrix or None, blocks, and number of columns of each field."""
        parts = [self.encode[name](side[name]) for name in self.context]
        blocks, shapes = [], []
        if self.partners is None and not any(self.features):
            parts = [e(own) for e, own in zip(self.encode_ids, ids, strict=True)] + parts
        else:
            for number, own in enumerate(ids):
                _, first, places = np.unique(own, return_index=True, return_inverse=True)
                fields = [known := self.encode_ids[number](own[first])]
                if self.partners is not None:
                    fields.append(known @ self.partners[number])
                fields += [self.encode[f](side[f][first]) for f in self.features[number]]
                blocks.append(RelationBlock(places, hstack(fields, format="csr")))
                shapes += [field.shape[1] for field in fields]
        X = hstack(parts, format="csr") if parts else None
        return X, blocks, [part.shape[1] for part in parts] + shapes


def one_hot(values):
    encoder = OneHotEncoder(handle_unknown="ignore").fit(values[:, None])
    return lambda found: encoder.transform(found[:, None])


def several_hot(values, separator):
    options = {"sep": separator, "handle_unknown": "ignore"}
    return MultipleValuesToSparseEncoder(np.unique(values), **options).to_sparse


def pairs(users, items, **side):
    return [users, items], side


def build(users, items, ratings, scale, **side):
    return pairs(users, items, **side), ratings


def fit(trainset, n_iter, ordinal=False, svdpp=False, **params):
    table, ratings = trainset
    features = [params.pop(f"{side}_features", []) for side in ("user", "item")]
    design = Design(*table, svdpp, features, params.pop("multi_valued", {}))
    X, blocks, shapes = design(*table)
    stars = None
    model = MyFMRegressor(random_seed=0, **params)
    if ordinal:
        stars, ratings = np.unique(ratings, return_inverse=True)
        model = MyFMOrderedProbit(random_seed=0, **params)
    model.fit(X, ratings, X_rel=blocks, n_iter=n_iter, group_shapes=shapes)
    return design, stars, model


def predict(fitted, asked):
    design, stars, model = fitted
    X, blocks, _ = design(*asked)
    if stars is None:
        return model.predict(X, blocks)
    return model.predict_proba(X, blocks) @ stars
