"""The site: `make site` builds it from README, docs, tables, executed notebooks and docstrings.

Its source folder is the root of the repository, so that links between files are those of the site.
Nothing is executed, and no page needs the network: formulas are MathML, which browsers show.
"""

import os
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docutils import nodes
from latex2mathml.converter import convert
from sphinx import addnodes
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_SOURCES = f"{_PROJECT['urls']['Repository']}/blob/main"

# --- What is built ---

project = "Entropy-Gradient Grounding"
release = _PROJECT["version"]
extensions = [
    "myst_nb",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.githubpages",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
include_patterns = [
    "*.md",
    "docs/**",
    "figures/README.md",
    "results/README.md",
    "results/tables/*.md",
    "results/measured/*.md",
    "results/notebooks/*.ipynb",
]
exclude_patterns = ["**/*.failed.ipynb"]  # they stand there while copies are made
root_doc = "README"

# The table of contents, which README gets on the site alone; a test holds that no page is missing.
CONTENTS = {
    "Use it": [
        "docs/faq",
        "docs/real_checkpoints",
        "docs/cluster",
        "docs/harness",
        "docs/tracking",
    ],
    "Findings": [
        "docs/experiments",
        "docs/definitions",
        "docs/protocol",
        "docs/baselines",
        "docs/cost",
        "docs/tiny_vlms",
        "results/README",
        "results/measured/*",
        "figures/README",
    ],
    "Tables": ["results/tables/*"],
    "Executed notebooks": ["results/notebooks/*"],
    "How and why": ["docs/deviations", "docs/decisions"],
    "Extend": [
        "docs/add_a_vlm",
        "docs/add_a_benchmark",
        "docs/api/modules",
        "CONTRIBUTING",
        "CHANGELOG",
    ],
}

# --- Pages ---

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = project
html_math_renderer = "mathml"
html_permalinks_icon = "#"

# --- API reference ---

apidoc_modules: list[dict[str, Any]] = [
    {
        "path": "../src/entropy_grounding",
        "destination": "docs/api",
        "separate_modules": True,
        "module_first": True,
        "automodule_options": {"members", "show-inheritance"},
    }
]
autodoc_mock_imports = ["lmms_eval"]  # an environment of its own (docs/harness.md)
napoleon_use_ivar = True  # an attribute stands once, beside its class
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units stand in Args and Returns
default_role = "py:obj"
suppress_warnings = ["ref.python"]  # names that the package offers stand on two pages
add_module_names = False

# --- Links to the outside, checked by `make site LINKS=external` alone ---

linkcheck_ignore = [rf"{_PROJECT['urls']['Repository']}.*"]  # until it is published


def _to_source(target: str, page: str) -> str | None:
    """Return the address of a file or folder of the repository that is no page of the site.

    Args:
        target: a relative link, with or without "#...".
        page: name of the page with the link.

    Returns:
        The address in the repository, None for what does not exist.
    """
    path = (ROOT / page).parent / urlsplit(target).path
    if not path.exists():
        return None

    return f"{_SOURCES}/{os.path.relpath(path.resolve(), ROOT)}"


def _add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Give every table a title, and the start page the table of contents for the side bar."""
    if page.startswith("results/tables/"):
        source[0] = f"# {Path(page).name}\n\n{source[0]}"
    if page != root_doc:
        return

    for caption, pages in CONTENTS.items():
        options = f":hidden:\n:glob:\n:maxdepth: 1\n:caption: {caption}\n"
        source[0] += "\n\n```{toctree}\n" + options + "\n" + "\n".join(pages) + "\n```\n"


def _link_files(app: Sphinx, tree: nodes.document) -> None:
    """Lead links to files and folders that are no pages into the repository."""
    for node in list(tree.findall(addnodes.pending_xref)):
        # To a folder.
        folder = (ROOT / app.env.docname).parent / urlsplit(node["reftarget"]).path
        if node.get("reftype") == "myst" and folder.is_dir():
            address = _to_source(node["reftarget"], app.env.docname)
            node.replace_self(nodes.reference("", "", *node.children, refuri=address))
            continue

        # To a page that the site lacks, such as a notebook without outputs.
        page = node["reftarget"] if node.get("refdomain") == "doc" else None
        if page and page not in app.env.found_docs and (ROOT / f"{page}.ipynb").exists():
            address = f"{_SOURCES}/{page}.ipynb"
            node.replace_self(nodes.reference("", "", *node.children, refuri=address))

    for node in list(tree.findall(addnodes.download_reference)):
        address = _to_source(node["reftarget"], app.env.docname)
        if address is not None:
            node.replace_self(nodes.reference("", "", *node.children, refuri=address))


def _formula(translator: Any, node: Any) -> None:
    block = isinstance(node, nodes.math_block)
    shown = convert(node.astext(), display="block" if block else "inline")
    translator.body.append(f'<div class="math">{shown}</div>' if block else shown)
    raise nodes.SkipNode


def _index(app: Sphinx, error: Exception | None) -> None:
    """Copy the start page to where a web server looks for it."""
    if error is None and app.builder.format == "html":
        start = Path(app.outdir)
        (start / "index.html").write_text((start / "README.html").read_text())


def setup(app: Sphinx) -> None:
    """Register what the site adds to Sphinx."""
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
    app.connect("source-read", _add_contents)
    app.connect("doctree-read", _link_files)
    app.connect("build-finished", _index)
