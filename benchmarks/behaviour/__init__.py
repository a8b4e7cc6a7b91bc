"""Comparison of two checkouts: do all results stay the same, bit by bit?

    python -m benchmarks.behaviour OLD_CHECKOUT [NEW_CHECKOUT] [--only PATTERN]

NEW_CHECKOUT is the current one by default. The command runs every case with the code of both
checkouts, in one Python environment and on one thread each. It prints one row for each case:
"equal", or the largest difference: inf for another type, shape or ID. It exits with 1 if a case
differs or fails. It takes about three minutes and keeps no results. ``--only PATTERN`` selects
cases by name, such as "mf*".

A new case is a function in `_fits.py` or `_others.py` that returns arrays, tables and numbers, in
dicts or lists, registered with ``@case("name")``. Cases use public names that both checkouts have:
compare with the commit just before a change.
"""
# SPDX-License-Identifier: BSD-3-Clause
