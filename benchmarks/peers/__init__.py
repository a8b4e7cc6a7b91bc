"""Scripts that the Python of each library's own environment runs."""
# SPDX-License-Identifier: BSD-3-Clause
