"""What the environment may change: one list, recorded beside the rows; what can change an answer is compared before rows are added."""

import platform
from importlib.metadata import PackageNotFoundError, version

# Packages whose version is recorded; of those in `DECISIVE` another version may change an answer.
PACKAGES = ("entropy-grounding", "torch", "transformers", "torchvision", "datasets", "numpy", "scipy", "pillow")
DECISIVE = ("torch", "transformers", "pillow", "device", "dtype", "kernel", "image_processor")


def package_versions() -> dict[str, str | None]:
    """Return the installed version of every package of `PACKAGES`, None for one that is absent."""
    return {name: _version(name) for name in PACKAGES}


def python_version() -> str:
    """Return the version of Python."""
    return platform.python_version()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
