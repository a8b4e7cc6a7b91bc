"""Solvers: objects that train a module on interactions."""
# SPDX-License-Identifier: BSD-3-Clause
