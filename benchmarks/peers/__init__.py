"""One stand-alone script a library, each run by the Python of an environment of its own."""
# SPDX-License-Identifier: BSD-3-Clause
