"""Helpers that know nothing of ratings: devices, threads, random generators, files of arrays."""
# SPDX-License-Identifier: BSD-3-Clause
