"""Write the address of the project into its metadata and its links: python set_home.py URL."""
# SPDX-License-Identifier: BSD-3-Clause

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent


def set_home(url: str, root: Path = ROOT) -> None:
    """Write the URL into pyproject.toml, CITATION.cff and the links of README.md."""
    url = url.rstrip("/")
    if not re.fullmatch(r"https://[\w.-]+/[\w./-]+", url):
        raise SystemExit(f"URL must be such as https://github.com/OWNER/sklrec, got {url!r}.")
    urls = {
        "Source": url,
        "Issues": f"{url}/issues",
        "Changelog": f"{url}/blob/main/CHANGELOG.md",
    }
    table = "".join(f'{name} = "{address}"\n' for name, address in urls.items())
    _replace(root / "pyproject.toml", r"(?=^\[project\.optional-)", f"[project.urls]\n{table}\n")
    _replace(root / "CITATION.cff", r"(?=^license:)", f"repository-code: {url}\n")
    _replace(root / "README.md", r"(?<=\]\()(?=[^)\s:]+\.svg\))", f"{url}/raw/main/")
    _replace(root / "README.md", r"(?<=\]\()(?!https?:|#)", f"{url}/blob/main/")


def _replace(path: Path, pattern: str, text: str) -> None:
    old = path.read_text(encoding="utf-8")
    if text.split("\n")[0] in old:
        raise SystemExit(f"{path.name} has an address already. Edit it by hand.")
    path.write_text(re.sub(pattern, text, old, flags=re.MULTILINE), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python set_home.py URL")
    set_home(sys.argv[1])
