"""Baselines around the method's idea: try crops instead of differentiating (UG, arXiv 2510.00705), and nest them (Visual Funnel)."""

from dataclasses import replace

import numpy as np

from entropy_grounding.baselines.privileged import Given
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Grounding
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import RegionOptions, fit_box
from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.method.zoom import zoom
from entropy_grounding.vlm.session import Session

OVERLAP = 0.25  # of the side of a cell, by which a candidate reaches over each border
NESTED = 2.0  # side of the outer crop relative to the inner


def candidate_boxes(size: tuple[int, int], count: int) -> list[Box]:
    """Return ``count`` overlapping boxes that cover an image of ``size`` (width, height): a grid with cells as square as can be."""
    width, height = size
    grids = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    rows, cols = min(
        grids, key=lambda grid: (abs(np.log((width / grid[1]) / (height / grid[0]))), grid)
    )
    w, h = width / cols, height / rows
    return [
        Box(
            max(0.0, (col - OVERLAP) * w),
            max(0.0, (row - OVERLAP) * h),
            min(float(width), (col + 1 + OVERLAP) * w),
            min(float(height), (row + 1 + OVERLAP) * h),
        )
        for row in range(rows)
        for col in range(cols)
    ]


def entropy_search(
    session: Session, question: str, options: GroundingOptions, given: Given
) -> Grounding:
    """Show each of ``options.candidates`` crops behind the full image, and answer from the one of lowest next-token entropy.

    No gradient, one forward a candidate (as UG, arXiv 2510.00705, on the first answer token).
    """
    boxes = candidate_boxes(session.image.size, options.candidates)
    entropies = [
        float(next_token_entropy(session.logits(session.prompt(question, [box])[0])))
        for box in boxes
    ]
    return session.finish(question, (boxes[int(np.argmin(entropies))],), options, "searched")


def nested(session: Session, question: str, options: GroundingOptions, given: Given) -> Grounding:
    """Answer from the best region of the paper's loop and the same place with twice its sides: as many crops as K = 2, one place."""
    one = replace(options, crops="found", regions=replace(options.regions, max_regions=1))
    steps, crops, reason = zoom(session, question, one)
    wider = [
        fit_box(
            box.expand((NESTED - 1) / 2 * max(box.width, box.height)),
            session.image.size,
            RegionOptions(min_side=0),
        )
        for box in crops
    ]
    return session.finish(question, (*crops, *wider), options, reason, steps)
