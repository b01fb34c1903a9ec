"""The cost of a grounding, counted while it runs."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from entropy_grounding.core.records import Cost
from entropy_grounding.vlm.types import Prompt


class Ledger:
    """Passes, tokens and seconds of one grounding; see `Cost`."""

    def __init__(self) -> None:
        self._spent: dict[str, Any] = dict.fromkeys(Cost.__dataclass_fields__, 0)

    def forward(self, prompt: Prompt, *, backwards: int = 0, start: int = 0) -> None:
        """Count a forward pass of a prompt.

        Args:
            prompt: the prompt.
            backwards: number of backward passes of the same.
            start: position at which the pass begins; the first picture lies before it.
        """
        before = len(prompt.features[0]) if start else 0
        spent = {
            "forwards": 1,
            "backwards": backwards,
            "visual_tokens": prompt.visual_tokens - before,
            "lm_tokens": prompt.length - start,
        }
        for name, value in spent.items():
            self._spent[name] += value

    def backward(self) -> None:
        """Count a backward pass of a forward pass that was counted."""
        self._spent["backwards"] += 1

    def checkpointed(self) -> None:
        """Count a map whose backward pass runs the layers again."""
        self._spent["checkpointed"] += 1

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall time of a block to a stage; the block ends when the GPU has finished."""
        start = time.perf_counter()
        yield

        synchronize()
        self._spent[stage] += time.perf_counter() - start

    def cost(self) -> Cost:
        """Return the cost so far."""
        return Cost(**self._spent)


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory() -> float:
    """Return the peak memory in MiB.

    On a GPU it is the peak since it was reset, on a CPU that of the whole process so far.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
