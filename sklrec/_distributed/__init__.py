"""Training by several processes at once, each of which has a part of every batch."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec._distributed._net import DistributedRatingNet
from sklrec._distributed._processes import (
    Processes,
    common_random_state,
    own_device,
    wait_for_all,
)

__all__ = [
    "DistributedRatingNet",
    "Processes",
    "common_random_state",
    "own_device",
    "wait_for_all",
]
