"""What only controls and oracles may know."""

from dataclasses import dataclass

from entropy_grounding.core.geometry import Box


@dataclass(frozen=True, slots=True)
class Privileged:
    """What a control may know besides image and question; the paper's loop needs none of it.

    Attributes:
        evidence: boxes of the evidence in pixels of the original image, for oracles.
        like: crops whose number and sizes a control copies; None lets it run the paper's loop to
            find them.
        seed: of random crops.
    """

    evidence: tuple[Box, ...] = ()
    like: tuple[Box, ...] | None = None
    seed: tuple[int, ...] = (0,)
