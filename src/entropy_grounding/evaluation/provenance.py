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

# What does not change a result, by section of the configuration: where it runs, where rows come from, how many there are.
_IRRELEVANT = {
    "vlm": ("name", "weights", "revision", "device", "device_map", "checkpointing", "expects"),
    "benchmark": ("name", "path", "revision", "images", "boxes", "streaming", "examples"),
}


def manifest(config: dict[str, Any]) -> dict[str, Any]:
    """Return configuration, fingerprint of tiny weights, commit, versions and time of a run."""
    return {
        "config": config,
        "weights_sha256": weights_identities(
            config["vlm"]["weights"], config["vlm"].get("revision")
        )["weights"],
        "commit": commit(),
        "versions": package_versions(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str:
    """Return the short commit of the working tree, with "+changes" when it differs; "unknown" outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def config_hash(
    config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, **identities: Any
) -> str:
    """Return twelve hexadecimal digits for what may change a result: model, data, protocol and method, not devices, paths or counts.

    Args:
        config: sections "vlm", "benchmark" and "method" of a run, as plain values.
        defaults: the same sections at their defaults; an option that is at its default does not
            count, so rows stay valid when a later version has one option more. The price: a default
            must never change (a test holds them).
        identities: what stands for a weights or data path, for example its fingerprint.
    """
    usual = flattened(defaults or {})
    chosen = {
        name: value
        for name, value in flattened(relevant_options(config)).items()
        if name not in usual or usual[name] != value
    }
    text = json.dumps({**chosen, **identities}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def relevant_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of a configuration without the options that cannot change a row."""
    return {
        section: {
            name: value
            for name, value in values.items()
            if name not in _IRRELEVANT.get(section, ())
        }
        for section, values in config.items()
    }


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested sections as one mapping from dotted names to values."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= (
            flattened(value, f"{prefix}{name}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{name}": value}
        )
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest; its sections are mappings.

    Raises:
        InputError: for a file that cannot be read, or is no manifest.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"The manifest '{path}' cannot be read ({error}): restore it, or move its folder away."
        ) from error

    config = found.get("config", {}) if isinstance(found, dict) else None
    sections = (
        [config.get(name, {}) for name in ("vlm", "benchmark", "method")]
        if isinstance(config, dict)
        else [config]
    )
    if not all(isinstance(section, dict) for section in sections):
        raise InputError(
            f"'{path}' is no manifest (its configuration is no mapping of sections): restore it, "
            "or move its folder away."
        )
    return {"config": {}, **found}
