"""The estimators, one file each."""
# SPDX-License-Identifier: BSD-3-Clause
