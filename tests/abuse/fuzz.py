"""Runs all that is done to estimators, archives, model files and checkpoints, at length."""
# SPDX-License-Identifier: BSD-3-Clause

# python tests/abuse/fuzz.py 20000
#
# The number is that of lives of estimators; the rest is in proportion to it. Says at the end what
# was done how often, and fails if anything did.

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lives", type=int, nargs="?", default=20_000)
    lives = parser.parse_args().lives
    kills = [f"--{what}={max(1, lives // 100)}" for what in ("fits", "writes")]
    commands = {
        "lives, archives, threads, memory": ["-m", "pytest", "-q", str(HERE)],
        "model files": [TESTS / "persistence/fuzz_model_files.py", f"--examples={3 * lives}"],
        "kills": [TESTS / "kill_checkpoints.py", *kills],
    }
    # One thread each: two programs that share a core wait for one another's threads.
    environment = os.environ | {"SKLREC_FUZZ": str(lives), "OMP_NUM_THREADS": "1"}
    ends = []
    for what, command in commands.items():
        print(f"\n--- {what}", flush=True)
        began = time.monotonic()
        code = subprocess.run([sys.executable, *command], cwd=TESTS.parent, env=environment)
        ends.append((what, code.returncode, time.monotonic() - began))
    print()
    for what, code, seconds in ends:
        print(f"{'failed' if code else 'passed'} after {seconds / 60:.1f} min: {what}")
    return any(code for _, code, _ in ends)


if __name__ == "__main__":
    sys.exit(main())
