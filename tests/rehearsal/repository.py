"""A copy of the repository in which the four released presets expect twins.

A preset refuses weights of another width and depth under its name, so exactly these two numbers are
rewritten. Everything else (options, notebooks, stored rows, documents) is as it is in the working
tree, and `eg report` may write into the copy.
"""

import re
import shutil
import subprocess
from pathlib import Path

from twins import LAYERS, TWINS, WIDTH

ROOT = Path(__file__).resolve().parents[2]
# What an installed clone needs; tests and the tools around them stay away.
PARTS = ("src", "conf", "notebooks", "docs", "results", "figures", "README.md", "pyproject.toml")


def copy_repository(target: Path) -> Path:
    """Copy the files that git knows or would add, adapt the presets, and return the folder."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *PARTS]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)

    for name in filter(None, listed.stdout.split("\0")):
        source, copied = ROOT / name, target / name
        if source.is_file():
            copied.parent.mkdir(parents=True, exist_ok=True)
            # Symbolic links and times are as in the tree, so a second copy changes nothing.
            shutil.copy2(source, copied, follow_symlinks=False)

    for preset in TWINS:
        _expect_twin(target / "conf" / "vlm" / f"{preset}.yaml")
    return target


def _expect_twin(path: Path) -> None:
    """Rewrite the width and depth that a preset expects; a twin without a preset is skipped."""
    if not path.is_file():
        return

    text = path.read_text()
    text, widths = re.subn(r"width: \d+", f"width: {WIDTH}", text)
    text, layers = re.subn(r"layers: \d+", f"layers: {LAYERS}", text)
    assert (widths, layers) == (1, 1), f"{path} says its width and depth otherwise"
    path.write_text(text)
