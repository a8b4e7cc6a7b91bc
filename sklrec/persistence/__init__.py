"""Model files: fitted estimators as arrays and a document, without code."""
# SPDX-License-Identifier: BSD-3-Clause
