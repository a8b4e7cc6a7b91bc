"""Command line: ``python -m benchmarks [names] [--ratings FILE] [--quick]``."""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks._measure import settle_environment

NAMES = """quick accuracy logs curves bayesian post dense sequence networks scaling profile
parallel distributed out_of_core predict overhead encoding ranking implicit recommend approximate
serving""".split()
COMPARISONS = ["bayesian", "dense"]  # of the module of accuracy
# These benchmarks read the log of --ratings; the result gets the name of the log.
READ_A_LOG = ["accuracy", "logs", "curves", "networks", "out_of_core", "implicit", "recommend"]
READ_TIMES = ["logs", "curves"]


def main() -> None:
    options = parser().parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser().error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")

    settle_environment()
    results = import_module("benchmarks._results")
    for name in options.names or NAMES:
        for target, arguments in tasks(name, options):
            print(f"== {target}", flush=True)
            facts = results.machine()
            module = import_module(f"benchmarks.{'accuracy' if name in COMPARISONS else name}")
            result = module.run(quick=options.quick, **arguments) | {"machine": facts}
            print(results.render(result), flush=True)
            if not options.quick:
                print(f"wrote {results.write(target, result)}", flush=True)
                results.write_page(NAMES)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    found.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}; or all")
    found.add_argument("--quick", action="store_true", help="a short trial that writes nothing")
    log = found.add_argument_group(f"a second log, for {', '.join(READ_A_LOG)}")
    log.add_argument("--ratings", type=Path, metavar="FILE", help="a CSV file, or a zip of one")
    log.add_argument("--user", default="user_id", metavar="COL", help="default: %(default)s")
    log.add_argument("--item", default="item_id", metavar="COL", help="default: %(default)s")
    log.add_argument("--rating", default="rating", metavar="COL", help="default: %(default)s")
    log.add_argument(
        "--threshold",
        type=float,
        metavar="RATING",
        help="implicit reads the ratings above it as events (default: all, as counts)",
    )
    readers = " and ".join(READ_TIMES)
    log.add_argument("--timestamp", metavar="COL", help=f"for {readers} (default: none)")
    log.add_argument("--only-log", action="store_true", help="no results without this log")
    log.add_argument("--name", help="name of the log in the results (default: that of the file)")
    return found


def tasks(name: str, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of each result of a benchmark, and the arguments of `run` for it."""
    if not options.only_log:
        yield name, {"comparison": name} if name in COMPARISONS else {}
    if options.ratings is not None and name in READ_A_LOG:
        title = options.name or options.ratings.name.split(".")[0]
        columns = [options.user, options.item, options.rating]
        if name in READ_TIMES:
            columns.append(options.timestamp)
        log = import_module("benchmarks._data").read_log(options.ratings, *columns)
        if name == "implicit" and options.threshold is not None:
            log = log[log["rating"] > options.threshold]
        log = log.sample(min(len(log), 50_000), random_state=0) if options.quick else log
        yield f"{name}_{title}", {"log": log, "title": title}


if __name__ == "__main__":
    main()
