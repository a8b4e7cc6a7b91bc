"""What fitted objects keep: declared by their classes, written and read by one mechanism."""
# SPDX-License-Identifier: BSD-3-Clause
