"""Our lists for all users, and the factors that they come from."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd

from benchmarks._bandwidth import multiplication_rate
from benchmarks.peers._serve import measured, read_request, write_reply
from sklrec import MFRegressor


def main() -> None:
    """Fit, unmeasured, and recommend to all users, without the items that they rated."""
    request, data = read_request()
    log = pd.DataFrame({"user": data["user"], "item": data["item"]})
    model = MFRegressor(**request["params"]).fit(log, data["rating"])
    users, names = model.encoder_.categories_
    n_items, repeats = request["n_items"], request["repeats"]
    model.recommend(users[:100], n_items)  # warms up
    lists, *recommended = measured(lambda: model.recommend(users, n_items), repeats)
    found = pd.Index(names).get_indexer(lists["item"]).reshape(len(users), n_items)
    seen = model.seen_[1:, 1:]
    rate = multiplication_rate()
    write_reply(
        {"recommend": recommended, "rate": rate},
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
