"""Our lists for all users: as `recommend` gives them, and as scores and their highest alone."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import torch

from benchmarks._bandwidth import multiplication_rate
from benchmarks.peers._serve import measured, read_request, write_reply
from sklrec import MFRegressor
from sklrec._core.recommend import SCORES_AT_ONCE, top


def highest(model: MFRegressor, n_items: int) -> np.ndarray:
    """Give the items with the highest scores of each user, as positions."""
    users = torch.arange(1, model.module_.n_users + 1)
    items = torch.arange(1, model.module_.n_items + 1)
    found = np.empty((len(users), n_items), dtype=np.int64)
    for block in users.split(max(1, SCORES_AT_ONCE // len(items))):
        with torch.inference_mode():
            scores = model.module_.all_pairs(block, items)
            row, column = model.seen_[block.numpy()][:, 1:].nonzero()
            scores[torch.from_numpy(row), torch.from_numpy(column)] = -torch.inf
            found[block.numpy() - 1] = top(scores, n_items)[1]
    return found


def main() -> None:
    """Fit, unmeasured, and recommend to everybody, without what they have seen."""
    request, data = read_request()
    log = pd.DataFrame({"user": data["user"], "item": data["item"]})
    model = MFRegressor(**request["params"]).fit(log, data["rating"])
    users = model.encoder_.categories_[0]
    n_items, repeats = request["n_items"], request["repeats"]
    model.recommend(users[:100], n_items)  # warms up
    lists, *recommended = measured(lambda: model.recommend(users, n_items), repeats)
    places, *bare = measured(lambda: highest(model, n_items), repeats)
    names = model.encoder_.categories_[1]
    found = pd.Index(names).get_indexer(lists["item"]).reshape(len(users), n_items)
    seen = model.seen_[1:, 1:]
    write_reply(
        {
            "recommend": recommended,
            "bare": bare,
            "same": float(np.mean(found == places)),
            "rate": multiplication_rate(),
        },
        {
            "items": found,
            "user_factors": model.user_factors_.astype(np.float32),
            "item_factors": model.item_factors_.astype(np.float32),
            "indices": seen.indices,
            "indptr": seen.indptr,
        },
    )


if __name__ == "__main__":
    main()
