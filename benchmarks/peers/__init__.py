"""One script for each library, which the Python of the library's own environment runs."""
# SPDX-License-Identifier: BSD-3-Clause
