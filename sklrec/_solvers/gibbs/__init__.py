"""Gibbs sampling of Bayesian matrix factorisation."""
# SPDX-License-Identifier: BSD-3-Clause
