"""Comparison of two checkouts: do all results stay the same, bit by bit?

    python -m benchmarks.behaviour OLD_CHECKOUT [NEW_CHECKOUT] [--only PATTERN]

NEW_CHECKOUT is the current one by default. The command runs every case with the code of either
checkout, in one Python environment and on one thread, and prints one row for each case: "equal",
or the largest difference. It exits with 1 if a case differs that is declared to stay equal, or
if a case fails. It takes about three minutes and keeps no results.

``--only PATTERN`` selects cases by name, such as ``--only "mf*"``.

How to change this file
-----------------------
- New case: write a function of a `Library` in `_fits.py` or `_others.py` that returns arrays,
  tables and numbers, in dicts or lists, and register it with `@case("name")`. Cases use public
  names only.
- Renamed parameter or class: write the cases in the new names, and say in `_library.py` what the
  older checkout calls them. When both checkouts have the same names, empty `TRANSLATED`.
- Results that must change: `@case("name", differs="the reason", tolerance=0.01)`. The command
  then compares means over seeds. Remove both once OLD_CHECKOUT has the change.
"""
# SPDX-License-Identifier: BSD-3-Clause
