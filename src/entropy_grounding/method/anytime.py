"""A cascade that stops as soon as the model is sure. Not in the paper.

Plain answer, rounds of the paper's zoom, then single candidate crops, ranked by the first map. Of
all answers on the way, the one of lowest first-token entropy is given. Each stage resumes the
passes of the one before, so a candidate costs the tokens of its crop.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Attempt, Grounding, Uncertainty, ZoomStep
from entropy_grounding.method.answer import finish, first_token_uncertainty
from entropy_grounding.method.candidates import candidate_boxes, ranked
from entropy_grounding.method.gate import is_sure
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.zoom import Progress, before_a_map, silent, zoom
from entropy_grounding.vlm.session import ImageSession

PLAIN, ZOOMED, TRIED = STAGES = ("plain", "zoomed", "tried")


def anytime(
    session: ImageSession,
    question: str,
    options: GroundingOptions,
    progress: Progress = silent,
) -> Grounding:
    """Answer by the cheapest stage that the model is sure of.

    Args:
        session: the image under the VLM.
        question: the question.
        options: of the method: the gate says up to which entropy a plain and a zoomed answer
            stand, the budget says the same of candidates, how many are tried, and for how long.
        progress: called after every round.
    """
    return _Cascade(session, question, options).run(progress)


class _Cascade:
    """One question on its way through the stages."""

    def __init__(self, session: ImageSession, question: str, options: GroundingOptions) -> None:
        self.session = session
        self.question = question
        self.options = options
        self.attempts: list[Attempt] = []
        seconds = options.budget.seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def run(self, progress: Progress) -> Grounding:
        """Run the stages until one is sure, and answer from the best attempt."""
        steps, crops, reason = zoom(
            self.session, self.question, self.options, progress, self._stands
        )
        if reason in ("gated", "sure"):
            reason = "time" if self._late() and not self._last_is_sure() else reason
        else:
            reason = self._go_on(steps, crops)

        best = min(self.attempts, key=lambda attempt: attempt.entropy)
        found = finish(self.session, self.question, best.crops, self.options, reason, steps)
        return replace(found, attempts=self._answered())

    def _stands(self, crops: Sequence[Box]) -> bool:
        """Note the answer from the crops of a prompt; tell whether no further map is needed."""
        unsure = before_a_map(self.session, self.question, crops, self.options)
        self._note(ZOOMED if crops else PLAIN, crops, unsure)
        return self._last_is_sure() or self._late()

    def _go_on(self, steps: Sequence[ZoomStep], crops: Sequence[Box]) -> str:
        """Try the crops of the last round, then candidates; return why this ended."""
        # Also where the answer is known from an earlier prompt: the zoom may have ended with a map
        # that led back to it, and an attempt holds all passes so far.
        unsure = first_token_uncertainty(self.session, self.question, crops)
        self._note(ZOOMED if crops else PLAIN, crops, unsure)
        if self._last_is_sure():
            return "sure"

        for box in self._candidates(steps):
            if self._late():
                return "time"
            unsure = first_token_uncertainty(self.session, self.question, (box,))
            self._note(TRIED, (box,), unsure)
            if self._last_is_sure():
                return "sure"
        return "searched"

    def _candidates(self, steps: Sequence[ZoomStep]) -> list[Box]:
        """Return the candidate crops to try, in their order."""
        boxes = candidate_boxes(self.session.image.size, self.options.candidates)
        if steps:
            boxes = ranked(boxes, steps[0].maps[0])
        return boxes[: self.options.budget.tries]

    def _note(self, stage: str, crops: Sequence[Box], unsure: Uncertainty) -> None:
        cost = self.session.ledger.cost()
        passes = cost.forwards + 2 * cost.backwards
        self.attempts.append(Attempt(stage, tuple(crops), unsure.entropy, passes))

    def _last_is_sure(self) -> bool:
        """Tell whether the last attempt stands without another one."""
        last = self.attempts[-1]
        if last.stage == TRIED:
            return last.entropy <= self.options.budget.tried

        unsure = Uncertainty(last.entropy, margin=1.0)  # the gate of a cascade reads the entropy
        return is_sure(unsure, self.options.gate, zoomed=last.stage == ZOOMED)

    def _late(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    def _answered(self) -> tuple[Attempt, ...]:
        """Return the attempts, with their answers if these are wanted."""
        if not self.options.budget.trace:
            return tuple(self.attempts)

        return tuple(
            replace(attempt, answer=self.session.answer(self.question, attempt.crops)[0].text)
            for attempt in self.attempts
        )
