"""The parts of the environment that may change a result, in one list.

They are recorded beside the rows of every run. An entry of `DECISIVE` can change an answer, so all
rows of one evaluation are made under the same values of these entries.
"""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = (
    "entropy-grounding",
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "scipy",
    "pillow",
)
DECISIVE = (
    "torch",
    "transformers",
    "tokenizers",
    "pillow",
    "device",
    "dtype",
    "kernel",
    "image_processor",
)


def environment_of(vlm: Any) -> dict[str, str]:
    """Return what may change the answers of a VLM, and what helps to explain a change.

    Args:
        vlm: the loaded VLM.

    Returns:
        The versions of the packages that are installed; the device, data type and attention kernel
        that are really used; and the class of the image processor, which shows its backend.
        torchvision is recorded although nothing here uses it.
    """
    versions = {name: value for name, value in package_versions().items() if value is not None}

    return {
        **versions,
        "python": platform.python_version(),
        "device": vlm.model.device.type,
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "kernel": str(vlm.model.get_decoder().config._attn_implementation),
        "image_processor": type(vlm.processor.image_processor).__name__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def package_versions() -> dict[str, str | None]:
    """Return the installed version of every package of `PACKAGES`, None for an absent package."""
    return {name: _version(name) for name in PACKAGES}


def differences(stored: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the decisive entries that differ, as (name, stored value, value now).

    An entry that is missing on one side does not count.
    """
    changed = []
    for name in DECISIVE:
        is_known = name in stored and name in now
        if is_known and _public(stored[name]) != _public(now[name]):
            changed.append((name, stored[name], now[name]))

    return changed


def _public(value: str) -> str:
    """Return a version without its local part, as 2.13.0+cpu and 2.13.0 are the same release."""
    return value.partition("+")[0]


def _version(name: str) -> str | None:
    """Return the installed version of a package, None if it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
