"""Model files."""
# SPDX-License-Identifier: BSD-3-Clause
