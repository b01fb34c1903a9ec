"""figures/README.md: every figure with its caption and its notebook.

The captions stand in the notebooks, in the cell that follows a figure, and nowhere else.
"""

import re
from pathlib import Path

import nbformat
import pandas as pd

# A figure that is saved among the figures of the repository, by a name that is written out.
# The folder that a call makes in passing is not one of them, and holds no such figure.
_SAVED = re.compile(r'^(?!.*output_folder).*show_(?:figure|variants)\(.*"(\d\d_\w+)"', re.MULTILINE)
_OWN = re.compile(r'/ "(\d\d_\w+)\.png"')  # of the notebook that does not import this package
_CAPTION = re.compile(r"\*\*Figures? \d+\.\*\*\s*")

_HEAD = (
    "# Figures\n\n"
    "Made by `make figures`, which also executes the notebooks into "
    "[results/notebooks](../results/notebooks). `make figures` writes a PDF beside every chart. "
    "This page is written by `eg report` from the captions in the notebooks.\n\n"
)


def captions(notebook: Path) -> dict[str, str]:
    """Return the caption of every figure that a notebook saves, by the name of its file.

    Args:
        notebook: the file of the notebook.
    """
    found: dict[str, str] = {}
    waiting: list[str] = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            waiting += _SAVED.findall(cell.source) + _OWN.findall(cell.source)
        elif _CAPTION.match(cell.source):
            first = cell.source.split("\n\n")[0]
            found |= dict.fromkeys(waiting, " ".join(_CAPTION.sub("", first).split()))
            waiting = []

    return found | dict.fromkeys(waiting, "")


def figures_page(root: Path) -> str:
    """Return figures/README.md of the repository.

    Args:
        root: folder of the repository.
    """
    lines = [
        {
            "file": f"{name}.png",
            "caption": caption,
            "notebook": f"[{path.stem}](../notebooks/{path.name})",
        }
        for path in sorted((root / "notebooks").glob("*.ipynb"))
        for name, caption in captions(path).items()
    ]
    return _HEAD + pd.DataFrame(lines).to_markdown(index=False) + "\n"
