"""Stored rows and the manifest that says where they come from; the only module that touches result files."""

import hashlib
import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.errors import InputError

_PACKAGES = ("entropy-grounding", "torch", "transformers", "numpy", "scipy", "pillow")


def write_results(folder: Path, rows: pd.DataFrame, source: dict[str, Any]) -> Path:
    """Write ``rows.parquet`` and ``manifest.json`` (``source``, taken before the run); each replaces its predecessor when complete."""
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "rows.partial", index=False)
    (folder / "manifest.partial").write_text(json.dumps(source, indent=1) + "\n")
    (folder / "rows.partial").replace(folder / "rows.parquet")
    (folder / "manifest.partial").replace(folder / "manifest.json")
    return folder


def load_rows(folder: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows and the manifest of a result folder.

    Raises:
        InputError: when one of the two files is missing.
    """
    folder = Path(folder)
    for name in ("rows.parquet", "manifest.json"):
        if not (folder / name).is_file():
            raise InputError(f"No {name} in the result folder '{folder}': run the command that writes it first.")
    return pd.read_parquet(folder / "rows.parquet"), json.loads((folder / "manifest.json").read_text())


def manifest(config: dict[str, Any]) -> dict[str, Any]:
    """Return configuration, fingerprint of tiny weights, commit, versions and time of a run."""
    return {
        "config": config,
        "weights_sha256": weights_fingerprint(config["vlm"]["weights"]),
        "commit": commit(),
        "versions": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def weights_fingerprint(weights: str) -> str | None:
    """Return the SHA-256 of a tiny VLM's or local folder's single weight file; None for a hub checkpoint."""
    from entropy_grounding.vlm.load import weights_folder

    folder = weights_folder(weights)
    path = folder / "model.safetensors" if folder else None
    return hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else None


def commit() -> str:
    """Return the short commit of the working tree, with "+changes" when it differs; "unknown" outside a repository."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
