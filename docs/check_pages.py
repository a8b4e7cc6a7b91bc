"""Open the built pages in headless Chromium and look for what a reader would stumble over."""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import os
import shutil
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode, urlsplit

DOCS = Path(__file__).parent
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
# those that are drawn as pictures too: to be looked at, for no check sees ugliness
DRAWN = {
    "start": "index.html",
    "quickstart": "quickstart.html",
    "choosing": "user_guide/choosing.html",
    "chapter": "user_guide/matrix_factorization.html",
    "coming_from": "coming_from/index.html",
    "api": "generated/sklrec.MFRegressor.html",
    "benchmarks": "benchmarks.html",
}
# What readers search for, and the page that must be among the first results.
SEARCHES = {
    "hyperparameter": "user_guide/tuning",
    "uncertainty": "user_guide/uncertainty",
    "confidence interval": "user_guide/uncertainty",
    "deploy": "user_guide/deployment",
    "monitoring": "user_guide/deployment",
    "docker": "user_guide/deployment",
    "FAQ": "user_guide/faq",
    "troubleshooting": "user_guide/troubleshooting",
    "explain": "user_guide/explanations",
    "baseline": "user_guide/bias",
    "popularity": "user_guide/implicit",
    "cold start": "user_guide/cold_start",
    "new user": "user_guide/cold_start",
    "missing values": "user_guide/preparing_data",
    "sparse matrix": "user_guide/preparing_data",
    "GPU": "user_guide/gpu",
    "save model": "user_guide/model_files",
    "diversity": "user_guide/recommending",
    "implicit": "user_guide/implicit",
}
N_RESULTS = 3
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium():
    """Give the path of a Chromium that is installed, or None; CHROMIUM= names one."""
    return shutil.which(os.environ.get("CHROMIUM") or "") or next(
        filter(None, map(shutil.which, NAMES)), None
    )


class QuietHandler(SimpleHTTPRequestHandler):
    """Serve files without a line for each."""

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def served(folder):
    """Serve a folder on a loopback address; searching does not work from files."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def watch(page, faults):
    """Note errors in the console, uncaught ones, and requests that fail or leave the machine."""

    def on_request(request):
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):
            faults.append(f"asks another machine for {request.url}")

    def on_response(response):
        if response.status >= 400:
            faults.append(f"{response.status} for {response.url}")

    page.on("console", lambda m: m.type == "error" and faults.append(f"console: {m.text}"))
    page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
    page.on("request", on_request)
    page.on("response", on_response)


def settle(page):
    """Wait until all is there, formulas and pictures below the fold included."""
    page.evaluate(
        """async () => {
            await window.MathJax?.startup?.promise;
            document.querySelectorAll('img').forEach(img => { img.loading = 'eager'; });
            await Promise.all([...document.images].map(img => img.decode().catch(() => null)));
        }"""
    )


def check_page(page, faults):
    """Look at the page that is open: no sideways scrolling, no picture missing."""
    settle(page)
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    if wide > window:
        faults.append(f"{wide} pixels wide in a window of {window}")
    for source in page.evaluate(
        "[...document.images].filter(img => !img.naturalWidth).map(img => img.src)"
    ):
        faults.append(f"picture {source} does not show")


def first_results(page, faults):
    """Return the paths of the first results on the search page, once they are there."""
    links = "#search-results li a:first-of-type"
    try:
        page.wait_for_function(
            "([links, n]) => document.querySelectorAll(links).length >= n"
            " || /found|did not match/.test(document.querySelector('#search-results')?.innerText)",
            arg=[links, N_RESULTS],
            timeout=15_000,
        )
    except Exception as error:  # playwright's own, which is imported only where there is Chromium
        faults.append(f"the search does not end: {error}")
    found = page.locator(links).evaluate_all("found => found.map(link => link.pathname)")
    return [path.removeprefix("/") for path in found[:N_RESULTS]]


def check_search_box(page, address, faults):
    """Type a word as a reader does, and expect results."""
    page.goto(address)
    page.keyboard.press("Control+k")
    page.locator("input[type=search]:visible").first.fill("recommend")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    if not first_results(page, faults):
        faults.append("search for 'recommend' finds nothing")


def check_searches(page, address, faults):
    """Search for the words of readers, and expect the page of each among the first results."""
    for words, wanted in SEARCHES.items():
        page.goto(f"{address}/search.html?{urlencode({'q': words})}")
        found = first_results(page, faults)
        if f"{wanted}.html" not in found:
            faults.append(f"search for {words!r} finds {', '.join(found) or 'nothing'}")


def draw(page, name, size, pictures):
    """Take pictures of the open page: the window, and all of it in light and in dark."""
    page.screenshot(path=pictures / f"{name}_{size}.png")
    for scheme in ("light", "dark"):
        page.evaluate("s => document.documentElement.dataset.theme = s", scheme)
        page.screenshot(path=pictures / f"{name}_{size}_{scheme}.png", full_page=True)


def check_all(browser, address, pages, pictures):
    """Open all pages, each in a window of both sizes; return the faults of each."""
    found = {}
    drawn = {path: name for name, path in DRAWN.items()}
    with browser.new_context() as context:
        for path in pages:
            page, faults = context.new_page(), found.setdefault(path, [])
            watch(page, faults)
            page.goto(f"{address}/{path}", wait_until="load")
            for size, (width, height) in SIZES.items():
                page.set_viewport_size({"width": width, "height": height})
                check_page(page, faults)
                if path in drawn:
                    draw(page, drawn[path], size, pictures)
            page.close()
        for size, (width, height) in SIZES.items():
            page, faults = context.new_page(), found.setdefault(f"search ({size})", [])
            page.set_viewport_size({"width": width, "height": height})
            watch(page, faults)
            check_search_box(page, f"{address}/index.html", faults)
            page.screenshot(path=pictures / f"search_{size}.png")
            if size == "desktop":
                check_searches(page, address, faults)
            page.close()
    return {place: faults for place, faults in found.items() if faults}


def main():
    """Check all pages; exit with 1 if a reader would find a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("html", nargs="?", type=Path, default=DOCS / "_build" / "html")
    parser.add_argument("--pictures", type=Path, default=DOCS / "_build" / "pages")
    args = parser.parse_args()

    chromium = find_chromium()
    if chromium is None:
        print("skipped: no Chromium found to open the pages with; install one or set CHROMIUM=")
        return 0
    found = (path.relative_to(args.html) for path in args.html.rglob("*.html"))
    # the theme's own folder has a template that ends in .html
    pages = sorted(path.as_posix() for path in found if path.parts[0] != "_static")
    if missing := set(DRAWN.values()) - set(pages):
        print(f"{args.html} lacks {', '.join(sorted(missing))}; build with `make docs` first")
        return 1
    from playwright.sync_api import sync_playwright

    args.pictures.mkdir(parents=True, exist_ok=True)
    with served(args.html) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        found = check_all(browser, address, pages, args.pictures)
        browser.close()
    for place, faults in found.items():
        print(place, *dict.fromkeys(faults), sep="\n    ")
    print(f"{len(pages)} pages in {len(SIZES)} sizes, {len(found)} with faults.", end=" ")
    print(f"Pictures of some to look at are in {args.pictures}.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
