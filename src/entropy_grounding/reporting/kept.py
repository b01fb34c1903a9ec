"""Summaries of stored rows that stay on disk, because their intervals and tests take minutes.

A summary has one JSON file. Its name is a digest of all that the summary depends on, so a file is
never wrong, only unused: it can be deleted at any time.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from entropy_grounding.core import geometry
from entropy_grounding.core.identity import file_digest
from entropy_grounding.core.paths import ROOT
from entropy_grounding.core.verbatim import expanded
from entropy_grounding.evaluation import archive, budgets, packs, places, retried
from entropy_grounding.evaluation.files import MANIFEST, ROWS, digest_of, replace_file
from entropy_grounding.metrics import localization, statistics
from entropy_grounding.vlm import weights

PLACE = "ENTROPY_GROUNDING_CACHE"  # names another folder; an empty value keeps nothing on disk
FOLDER = ROOT / "outputs" / "cache" / "summaries"

# What computes a summary besides the module that asks for it.
_CODE = (statistics, localization, geometry, weights, archive, budgets, packs, places, retried)
_LIBRARIES = ("numpy", "scipy", "pandas", "pyarrow")

# The JSON of the summaries of this process, by key: a notebook asks for the same ones again.
_known: dict[str, str] = {}


def kept(
    evaluations: Sequence[Path], about: Sequence[Any], code: ModuleType, compute: Callable[[], Any]
) -> Any:
    """Return a summary of stored rows; it is computed only where it is not known yet.

    Args:
        evaluations: paths of the rows that it is computed from.
        about: what else its values depend on; JSON can write it.
        code: the module whose functions compute it.
        compute: returns the summary, of values that JSON can write.
    """
    key = _key(evaluations, about, code)
    text = _known.get(key) or _read(key)
    if text is None:
        text = json.dumps(compute())
        _write(key, text)

    _known[key] = text
    return json.loads(text)  # new objects each time: a caller may change them


def _key(evaluations: Sequence[Path], about: Sequence[Any], code: ModuleType) -> str:
    """Return the digest of everything that a summary depends on."""
    rows = [_identity(evaluation) for evaluation in evaluations]
    parts = [rows, list(about), _computation(Path(str(code.__file__)))]

    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _identity(evaluation: Path) -> list[str]:
    """Return what names an evaluation, and the digests of its rows and of its manifest."""
    files = (evaluation / ROWS, evaluation / MANIFEST)
    if not files[0].is_file():
        pack = packs.pack_of(evaluation)
        files = (pack, pack.with_suffix(".json"))

    return [*evaluation.parts[-3:], *map(file_digest, files)]


@cache
def _computation(code: Path) -> list[str]:
    """Return the digests of the modules that compute, and the versions of their libraries."""
    modules = [code, *(Path(str(module.__file__)) for module in _CODE)]

    return [*map(file_digest, modules), *map(version, _LIBRARIES)]


def _file(key: str) -> Path | None:
    """Return the file of a summary; None where nothing is to be kept on disk."""
    place = os.environ.get(PLACE, str(FOLDER))

    return Path(expanded(place)) / f"{key}.json" if place else None


def _read(key: str) -> str | None:
    """Return the JSON of a summary; None for a file that is absent, or not as it was written."""
    file = _file(key)
    if file is None:
        return None

    try:
        digest, _, text = file.read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        return None

    return text if digest == digest_of(text.encode()) else None


def _write(key: str, text: str) -> None:
    """Write the JSON of a summary, below its digest; another process may write the same."""
    file = _file(key)
    if file is None:
        return

    # Without room or permission it is computed again next time.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, f"{digest_of(text.encode())}\n{text}".encode())
