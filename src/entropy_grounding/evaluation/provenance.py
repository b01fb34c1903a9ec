"""Where rows come from: configuration, hash, commit, versions."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from entropy_grounding.core.environment import package_versions
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import PACKAGE
from entropy_grounding.vlm.weights import weights_identities

# Options that cannot change a result, by section: where it runs, where rows come from, how many
# there are.
_IRRELEVANT = {
    "vlm": ("name", "weights", "revision", "device", "device_map", "checkpointing", "expects"),
    "benchmark": ("name", "path", "revision", "images", "boxes", "streaming", "examples"),
}


def manifest(config: dict[str, Any]) -> dict[str, Any]:
    """Return configuration, identity of the weights, commit, versions and time of a run."""
    vlm = config["vlm"]
    return {
        "config": config,
        "weights_sha256": weights_identities(vlm["weights"], vlm.get("revision"))["weights"],
        "commit": commit(),
        "versions": package_versions(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str:
    """Return the short commit of the working tree, "unknown" outside a repository.

    It ends with "+changes" if the package differs from that commit.
    """
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", ".")
        return _git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def config_hash(
    config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, **identities: Any
) -> str:
    """Return twelve hexadecimal digits that change with everything that may change a result.

    Model, data, protocol and method count; devices, paths and numbers of examples do not.

    Args:
        config: sections "vlm", "benchmark" and "method" of a run, as plain values.
        defaults: the same sections at their defaults. An option at its default does not count, so
            rows stay valid when a later version has one option more. The price: a default must
            never change (a test holds them).
        identities: what stands for a weights or data path, for example its SHA-256.
    """
    usual = flattened(defaults or {})
    changed = {}
    for name, value in flattened(relevant_options(config)).items():
        if name not in usual or usual[name] != value:
            changed[name] = value

    text = json.dumps({**changed, **identities}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def relevant_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of a configuration without the options that cannot change a row."""
    sections = {}
    for section, values in config.items():
        irrelevant = _IRRELEVANT.get(section, ())
        sections[section] = {
            name: value for name, value in values.items() if name not in irrelevant
        }

    return sections


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested sections as one mapping from dotted names to values."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value

    return flat


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest; its sections are mappings.

    Raises:
        InputError: for a file that cannot be read, or is no manifest.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"The manifest '{path}' cannot be read ({error}): restore it, or move its folder away."
        ) from error

    if not _is_manifest(content):
        raise InputError(
            f"'{path}' is no manifest (its configuration is no mapping of sections): restore it, "
            "or move its folder away."
        )
    return {"config": {}, **content}


def _is_manifest(content: Any) -> bool:
    config = content.get("config", {}) if isinstance(content, dict) else None
    if not isinstance(config, dict):
        return False

    return all(isinstance(config.get(name, {}), dict) for name in ("vlm", "benchmark", "method"))
