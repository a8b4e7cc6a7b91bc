"""What the splitters share that hold out whole users, or whole items."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from sklrec.model_selection._columns import SplitColumns
from sklrec.model_selection._splitter import InteractionSplitter, Split


class ColdSplit(InteractionSplitter):
    """One of scikit-learn's splitters by groups, over the IDs of one column of X."""

    _side: str  # the parameter that names the column

    @abstractmethod
    def _by_groups(self) -> Any:
        """Make scikit-learn's splitter, which checks the parameters."""

    @abstractmethod
    def _split_groups(self, splitter: Any, codes: np.ndarray, n_ids: int) -> Iterator[Split]:
        """Let it split, or say what is wrong in terms of users, or items."""

    def _split(self, columns: SplitColumns) -> Iterator[Split]:
        splitter = self._by_groups()
        codes = columns.codes(getattr(self, self._side))
        yield from self._split_groups(splitter, codes, codes.max() + 1)

    def _n_splits(self) -> int:
        return self._by_groups().get_n_splits()
