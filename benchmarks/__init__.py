"""Benchmarks beside the libraries in use today: ``python -m benchmarks``."""
# SPDX-License-Identifier: BSD-3-Clause
