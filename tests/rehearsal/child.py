"""A process of its own, with the settings of a hub on loopback, that answers what it is asked."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from published import write_datasets

from support.hub import Hub

HERE = Path(__file__).parent


class Child:
    """A process that loads what it is told to, from the hub of the test."""

    def __init__(self, hub: Hub, home: Path, **more: str) -> None:
        self.hub, self.home = hub, home
        env = hub.environment(home, OMP_NUM_THREADS="1", **more)
        env["PYTHONPATH"] = str(HERE.parents[1] / "src")
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "ask.py")],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, *words: str) -> Any:
        """Return the sentence of the error, "" where there is none; see `ask.py`."""
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise AssertionError("the process has ended")

    def forget(self) -> None:
        """Empty the cache."""
        for name in ("hub", "datasets"):
            shutil.rmtree(self.home / name, ignore_errors=True)


@contextmanager
def served(models: dict[str, Path], folder: Path) -> Iterator[Child]:
    """Serve checkpoints and small copies of the data sets to a child with an empty cache.

    Args:
        models: folders of checkpoints by their hub id.
        folder: of the data and the cache.
    """
    with Hub(models, write_datasets(folder / "data")) as hub:
        child = Child(hub, folder / "home")
        yield child
        child.process.kill()
        child.process.wait()
