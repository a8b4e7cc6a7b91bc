"""Users who are solved from their own interactions, outside of the model."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._core.choices import Items
from sklrec._core.readers import id_columns
from sklrec._core.recommend import Users, lists_of
from sklrec._data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Newcomers:
    """New or returning users, and their interactions."""

    ids: Any  # (n_users,), in order of appearance
    known: np.ndarray  # (n_users,), their codes in the model, 0 for new users
    first: np.ndarray  # (n_users,), row of the first interaction
    users: np.ndarray  # (n_interactions,), numbers of the users from 0
    items: np.ndarray  # (n_interactions,), codes, 0 for unknown items

    @classmethod
    def read(cls, model: Any, X: Any) -> Self:
        """Read the users and items of checked interactions."""
        (known, of_users), (items, of_items) = id_columns(model, X)
        own, users = Vocabulary.build(of_users, known.name)
        codes = items.codes(of_items)
        items.warn_of_kind(of_items, np.count_nonzero(codes == 0))
        first = np.unique(users, return_index=True)[1]
        ids = own.ids_of(np.arange(1, len(own) + 1))
        return cls(ids, known.codes(ids), first, users - 1, codes)

    def lists(
        self,
        model: Any,
        scores: Callable[[slice, Items], Tensor],  # of some users and items, on the CPU
        n_items: Any,
        exclude_seen: bool,
        candidates: Any,
        exclude: Any,
    ) -> pd.DataFrame:
        """Recommend items from the scores of the solved users."""
        shape = len(self.ids), model.seen_.shape[1]
        cells = np.ones(len(self.users), dtype=bool), (self.users, self.items)
        own = csr_array(cells, shape)

        def seen(some: slice) -> csr_array:
            return own[some] + model.seen_[self.known[some]]

        asked = Users(self.ids, scores, seen)
        return lists_of(model, asked, n_items, exclude_seen, candidates, exclude)
