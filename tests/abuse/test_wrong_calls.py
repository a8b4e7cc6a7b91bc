"""Some of the wrong calls of the long sweep."""
# SPDX-License-Identifier: BSD-3-Clause

import wrong_calls


def test_wrong_arguments_raise_errors_of_our_own():
    counts, faults = wrong_calls.sweep(share=0.02)
    assert not faults
    assert counts["refused"] > 100
