"""Configuration of Sphinx for `make docs`."""
# SPDX-License-Identifier: BSD-3-Clause

import re
import sys
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes
from numpydoc.docscrape_sphinx import SphinxDocString
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - an example imports it

import sklrec.preprocessing

sys.path.insert(0, str(Path(__file__).parent))
import other_projects
import start_figure

project = "sklrec"
author = "The sklrec developers"
copyright = f"{author}, BSD 3-Clause"
version = release = sklrec.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
# drawn anew from the results, in a folder that git ignores
start_figure.main(Path(__file__).parent / "generated" / "figures")

exclude_patterns = ["_build", "_pictures", "_templates", "examples", "auto_examples/*.ipynb"]
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_search_scorer = str(Path(__file__).parent / "search_scorer.js")

# --- references: all must resolve; a build does not download inventories of other projects
nitpicky = True
intersphinx_mapping = other_projects.write_inventories(
    Path(__file__).parent / "generated" / "inventories"
)
smartquotes = False  # quotes in code must stay as typed
# single backticks name parameters and attributes, and classes of other projects, which get links
default_role = "name"
OTHERS = other_projects.links()
extlinks = {"doi": ("https://doi.org/%s", "doi:%s")}

# --- pages made from docstrings
autodoc_typehints = "none"  # numpydoc's sections tell the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the template for classes lists them

# numpydoc would describe an attribute that is a property by the property's summary, in place of
# what the class's docstring says of it
_process_param = SphinxDocString._process_param
SphinxDocString._process_param = lambda self, param, desc, fake_autosummary: _process_param(
    self, param, desc, False
)

# --- formulas, without a request to a server: one file that draws them as SVG
_mathjax = distribution("sphinx-mathjax-offline")
html_static_path.append(
    str(_mathjax.locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg.js"))
)
mathjax_path = "tex-svg.js"

# --- code: the copy button takes the statements, without prompts and outputs
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "doc_module": ("sklrec",),
    "reference_url": {"sklrec": None},
    "backreferences_dir": "generated/backreferences",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "sklrec"
html_favicon = "_static/favicon.svg"
html_show_sourcelink = False
html_context = {"default_mode": "auto"}  # light or dark as the system has it
toc_object_entries_show_parents = "hide"
html_theme_options = {
    "header_links_before_dropdown": 5,
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "show_prev_next": True,
    "show_toc_level": 2,
}
html_sidebars = {  # pages without pages below them
    page: []
    for page in (
        "index",
        "quickstart",
        "benchmarks",
        "coming_from/*",
        "conventions",
        "glossary",
        "changelog",
    )
}


def escape_learned_sizes(app, what, name, obj, options, lines):
    """Keep reST from reading `max_len_` in the shape of an array as a reference."""
    for number, line in enumerate(lines):
        if " of shape (" in line:
            lines[number] = re.sub(r"(?<![\w`])(\w+)_(?=[,)])", r"\1\\_", line)


def skip_members_of_others(app, what, name, obj, skip, options):
    """Leave out members that a class inherits from another package."""
    function = obj.fget if isinstance(obj, property) else getattr(obj, "__wrapped__", obj)
    module = getattr(function, "__module__", None) or ""
    # properties are learned attributes, which the class's own docstring lists
    return skip or isinstance(obj, property) or not module.startswith("sklrec")


def name_role(role, rawtext, text, lineno, inliner, options=None, content=()):
    """Show a name as code, with a link if it is one of another project."""
    shown = nodes.literal(rawtext, text)
    if url := OTHERS.get(text):
        return [nodes.reference(rawtext, "", shown, refuri=url, internal=False)], []
    return [shown], []


def find_reexported(app, env, node, contnode):
    """Resolve references to `sklrec.IDEncoder` and the other names of `sklrec.preprocessing`."""
    name = node.get("reftarget", "").removeprefix("sklrec.")
    if name in sklrec.preprocessing.__all__:
        target = f"sklrec.preprocessing.{name}"
        domain = env.get_domain("py")
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, contnode)


def setup(app):
    """Connect to Sphinx."""
    app.add_role("name", name_role)
    app.connect("autodoc-process-docstring", escape_learned_sizes, priority=400)  # numpydoc: 500
    app.connect("autodoc-skip-member", skip_members_of_others)
    app.connect("missing-reference", find_reexported)
