"""Helpers that know nothing of ratings: what torch runs on, warnings, packed matrices, files."""
# SPDX-License-Identifier: BSD-3-Clause
