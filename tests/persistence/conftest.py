"""Lets tests of model files import the modules that stand beside them."""
# SPDX-License-Identifier: BSD-3-Clause

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
