"""What the environment may change: one list, recorded beside the rows of every run.

What is in `DECISIVE` can change an answer, so rows of one evaluation are never made under two values of it.
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
    """Return everything of the environment that may change what a VLM answers, and what helps to explain it.

    Versions, the device, data type and attention kernel that are really used, and the class of the image
    processor, which says its backend. torchvision is recorded, and nothing here uses it.
    """
    return {
        **{name: value for name, value in package_versions().items() if value is not None},
        "python": platform.python_version(),
        "device": vlm.model.device.type,
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "kernel": str(vlm.model.get_decoder().config._attn_implementation),
        "image_processor": type(vlm.processor.image_processor).__name__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def package_versions() -> dict[str, str | None]:
    """Return the installed version of every package of `PACKAGES`, None for one that is absent."""
    return {name: _version(name) for name in PACKAGES}


def differences(stored: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (name, stored, now) of the decisive entries that differ; one that was not stored does not count."""
    both = [name for name in DECISIVE if name in stored and name in now]

    return [
        (name, stored[name], now[name])
        for name in both
        if _public(stored[name]) != _public(now[name])
    ]


def _public(value: str) -> str:
    """Return a version without its local part: 2.13.0+cpu and 2.13.0 are the same release."""
    return value.partition("+")[0]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
