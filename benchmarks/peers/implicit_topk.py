"""implicit's lists for all users, from given factors."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from benchmarks._measure import THREADS
from benchmarks.peers._serve import measured, read_request, write_reply


def main() -> None:
    """Recommend to all users, without the items that they rated."""
    request, data = read_request()
    users, items = data["user_factors"], data["item_factors"]
    there = np.ones(len(data["indices"]), dtype=np.float32)
    shape = len(users), len(items)
    seen = csr_matrix((there, data["indices"], data["indptr"]), shape)
    model = AlternatingLeastSquares(factors=users.shape[1], num_threads=THREADS)
    model.user_factors, model.item_factors = users, items

    def recommend(n_users: int) -> tuple[np.ndarray, np.ndarray]:
        users_asked = np.arange(n_users)
        return model.recommend(users_asked, seen[:n_users], N=request["n_items"])

    with threadpool_limits(1, "blas"):  # it has threads of its own, and warns of BLAS's
        recommend(100)  # warms up
        (found, _), elapsed, held = measured(lambda: recommend(len(users)), request["repeats"])
    write_reply({"seconds": elapsed, "bytes": held}, {"items": found})


if __name__ == "__main__":
    main()
