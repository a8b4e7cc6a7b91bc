"""The base class of the estimators: fitting, predicting, recommending."""
# SPDX-License-Identifier: BSD-3-Clause
