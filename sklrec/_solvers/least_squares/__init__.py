"""Least-squares kernels for exact and Bayesian solvers."""
# SPDX-License-Identifier: BSD-3-Clause
