"""Base classes of the estimators: fits, predictions and recommendations."""
# SPDX-License-Identifier: BSD-3-Clause
