"""Runs the random tests of estimators, model files and the serving example at length."""
# SPDX-License-Identifier: BSD-3-Clause

# python tests/abuse/fuzz.py 20000
#
# The number is that of random sequences of calls; the other tests are longer in proportion. The
# end of the output says how often each thing was done. The exit status is 1 if a test failed.

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n_sequences", type=int, nargs="?", default=20_000)
    n = parser.parse_args().n_sequences
    commands = {
        "calls, threads, memory": ["-m", "pytest", "-q", str(HERE)],
        "interrupts": [HERE / "interrupts.py", str(max(300, 3 * n // 20))],
        "wrong calls": [HERE / "wrong_calls.py"],
        "files that change": [HERE / "changed_files.py", str(max(50, n // 40))],
        "forks": ["-m", "pytest", "-q", str(TESTS / "utils/test_forks.py")],
        "requests": [HERE / "served_crowd.py", str(max(500, n // 2))],
        "model files": [TESTS / "persistence/fuzz_model_files.py", f"--examples={3 * n}"],
    }
    # One thread each: programs that share a core wait for the threads of each other.
    environment = os.environ | {"SKLREC_FUZZ": str(n), "OMP_NUM_THREADS": "1"}
    codes = {}
    for what, command in commands.items():
        print(f"\n--- {what}", flush=True)
        run = subprocess.run([sys.executable, *command], cwd=TESTS.parent, env=environment)
        codes[what] = run.returncode
    for what, code in codes.items():
        print(f"{'failed' if code else 'passed'}: {what}")
    return any(codes.values())


if __name__ == "__main__":
    sys.exit(main())
