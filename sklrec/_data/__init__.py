"""Reading X and y: checks, IDs and codes, times, histories."""
# SPDX-License-Identifier: BSD-3-Clause
