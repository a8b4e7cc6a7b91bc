"""Reading X and y: checks, IDs and codes, times, histories, side features."""
# SPDX-License-Identifier: BSD-3-Clause
