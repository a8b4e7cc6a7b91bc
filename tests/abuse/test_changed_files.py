"""Model files that change while they are read or written."""
# SPDX-License-Identifier: BSD-3-Clause

import sys

import changed_files
import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="the processes are forked")
def test_files_that_change_give_one_of_two_models_or_an_error_that_names_them(abuse):
    counts, failures = changed_files.run(3, n_users=400)
    assert not failures, failures[0]
    assert counts.total() == 13
    abuse.counts["changes of files"] += counts.total()
