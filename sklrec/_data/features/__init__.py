"""Side features: further columns of X as arrays."""
# SPDX-License-Identifier: BSD-3-Clause
