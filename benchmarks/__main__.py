"""Command line: ``python -m benchmarks [names] [--ratings FILE] [--quick]``."""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks._measure import settle_environment

NAMES = [
    "accuracy",
    "curves",
    "bayesian",
    "fm",
    "post",
    "dense",
    "sequence",
    "scaling",
    "profile",
    "step_cost",
    "parallel",
    "distributed",
    "out_of_core",
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
    options = parser().parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser().error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")

    settle_environment()
    results = import_module("benchmarks._results")
    for name in options.names or NAMES:
        for target, arguments in tasks(name, options):
            print(f"== {target}", flush=True)
            facts = results.machine()
            module = import_module(f"benchmarks.{name}")
            result = module.run(quick=options.quick, **arguments) | {"machine": facts}
            print(results.render(result), flush=True)
            if not options.quick:
                print(f"wrote {results.write(target, result)}", flush=True)
                results.write_page(NAMES)


def parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    found.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}; or all")
    found.add_argument("--quick", action="store_true", help="a short try-out; writes nothing")
    log = found.add_argument_group("another log, of curves, ratings, recommend and out_of_core")
    log.add_argument("--ratings", type=Path, metavar="FILE", help="a CSV file, or a zip of one")
    log.add_argument("--user", default="user_id", metavar="COL", help="default: %(default)s")
    log.add_argument("--item", default="item_id", metavar="COL", help="default: %(default)s")
    log.add_argument("--rating", default="rating", metavar="COL", help="default: %(default)s")
    log.add_argument("--name", help="the log's name in the results (default: the file's)")
    log.add_argument(
        "--time-limit",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="a model; thrice that for a curve",
    )
    return found


def tasks(name: str, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a benchmark has to do: results by their names, and what `run` needs for each."""
    path = options.ratings
    if path is None:
        if name == "ratings":
            print("ratings log: left out, no --ratings FILE given", flush=True)
        else:
            yield name, {}
        return
    log = {"path": path, "columns": (options.user, options.item, options.rating)}
    title = options.name or path.name.split(".")[0]
    named = {**log, "title": title, "time_limit": options.time_limit}
    if name == "curves":
        yield name, {}
        yield f"curves_{title}", {**named, "time_limit": 3 * options.time_limit}
    elif name == "out_of_core":
        yield name, {}
        yield f"out_of_core_{title}", log
    elif name == "ratings":
        yield f"ratings_{title}", named
    else:
        yield name, log if name in ("out_of_core", "recommend") else {}


if __name__ == "__main__":
    main()
