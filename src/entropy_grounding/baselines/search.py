"""Baselines around the method's idea: try crops instead of differentiating, and nest crops.

Trying crops is UG (arXiv 2510.00705), nesting them is Visual Funnel.
"""

from dataclasses import replace

import numpy as np

from entropy_grounding.baselines.privileged import Privileged
from entropy_grounding.core.records import Grounding
from entropy_grounding.method.answer import finish
from entropy_grounding.method.candidates import candidate_boxes, ranked
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import RegionOptions, fit_box
from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.method.zoom import ground_round, zoom
from entropy_grounding.vlm.session import ImageSession

NESTED = 2.0  # side of the outer crop relative to the inner


def entropy_search(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> Grounding:
    """Show each of ``options.candidates`` crops behind the full image, and answer from the best.

    The best has the lowest next-token entropy. There is no gradient, one forward pass per candidate
    (as UG, arXiv 2510.00705, on the first answer token). With ``options.budget.tries`` only so many
    are shown: those in which the map of the full image, by ``options.signal``, is most relevant.
    """
    boxes = candidate_boxes(session.image.size, options.candidates)
    steps = []
    if options.budget.tries is not None:
        steps.append(ground_round(session, question, (), options))
        boxes = ranked(boxes, steps[0].maps[0])[: options.budget.tries]

    entropies = []
    for box in boxes:
        done = session.run(session.prompt(question, [box]))
        entropies.append(float(next_token_entropy(done.logits[0].detach())))

    best = boxes[int(np.argmin(entropies))]
    return finish(session, question, (best,), options, "searched", steps)


def nested(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> Grounding:
    """Answer from the best region of the paper's loop and the same place with twice its sides.

    That is as many crops as K = 2, at one place.
    """
    one = replace(options, crops="found", regions=replace(options.regions, max_regions=1))
    steps, crops, reason = zoom(session, question, one)

    wider = []
    for box in crops:
        margin = (NESTED - 1) / 2 * max(box.width, box.height)
        wider.append(fit_box(box.expand(margin), session.image.size, RegionOptions(min_side=0)))
    return finish(session, question, (*crops, *wider), options, reason, steps)
