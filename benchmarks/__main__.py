"""Command line: ``python -m benchmarks [names] [--ratings FILE] [--quick]``."""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks._measure import settle_environment

NAMES = [
    "accuracy",
    "time_to_rmse",
    "bayesian",
    "fm",
    "post",
    "dense",
    "sequence",
    "predict",
    "memory",
    "overhead",
    "encoding",
    "import_time",
    "ranking",
    "recommend",
    "approximate",
    "serving",
    "ratings",
]


def main() -> None:
    """Run the benchmarks that are asked for and write what they found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}; or all")
    parser.add_argument("--quick", action="store_true", help="a short try-out; writes nothing")
    log = parser.add_argument_group("another log, of ratings and recommend")
    log.add_argument("--ratings", type=Path, metavar="FILE", help="a CSV file, or a zip of one")
    log.add_argument("--user", default="user_id", metavar="COL", help="default: %(default)s")
    log.add_argument("--item", default="item_id", metavar="COL", help="default: %(default)s")
    log.add_argument("--rating", default="rating", metavar="COL", help="default: %(default)s")
    log.add_argument("--name", help="the log's name in the results (default: the file's)")
    log.add_argument("--time-limit", type=float, default=300.0, metavar="SECONDS", help="a model")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")

    settle_environment()
    results = import_module("benchmarks._results")
    for name in options.names or NAMES:
        arguments: dict[str, Any] = {"quick": options.quick}
        target = name
        if name in ("ratings", "recommend") and options.ratings is not None:
            columns = (options.user, options.item, options.rating)
            arguments |= {"path": options.ratings, "columns": columns}
        if name == "ratings":
            if options.ratings is None:
                print("ratings log: left out, no --ratings FILE given", flush=True)
                continue
            title = options.name or options.ratings.name.split(".")[0]
            target = f"ratings_{title}"
            arguments |= {"title": title, "time_limit": options.time_limit}
        print(f"== {target}", flush=True)
        facts = results.machine()
        result = import_module(f"benchmarks.{name}").run(**arguments) | {"machine": facts}
        print(results.render(result), flush=True)
        if not options.quick:
            print(f"wrote {results.write(target, result)}", flush=True)
            results.write_page(NAMES)


if __name__ == "__main__":
    main()
