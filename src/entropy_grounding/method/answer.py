"""The end of a grounding: plain answer, zoomed answer, and which of the two stands."""

from collections.abc import Sequence

from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Grounding, Uncertainty, ZoomStep
from entropy_grounding.method.gate import OFF, accepts, uncertainty
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.vlm.session import ImageSession


def first_token_uncertainty(
    session: ImageSession, question: str, crops: Sequence[Box]
) -> Uncertainty:
    """Return how unsure the model is of the first token of its answer."""
    done = session.run(session.prompt(question, crops))
    return uncertainty(done.logits[0].detach())


def finish(
    session: ImageSession,
    question: str,
    crops: Sequence[Box],
    options: GroundingOptions,
    reason: str,
    steps: Sequence[ZoomStep] = (),
) -> Grounding:
    """Answer from the full image alone, then from the crops too, and return the whole record.

    Args:
        session: the image under the VLM.
        question: the question.
        crops: crops to answer from, in pixels of the original image; none gives the plain answer.
        options: of the method; its gate may decline the zoomed answer.
        reason: why the zoom ended, a key of `STOP_REASONS`.
        steps: the rounds.
    """
    accept = options.gate.accept != OFF

    # With kept passes the uncertainties cost nothing; otherwise each would take a forward pass.
    known = accept or (session.reuse and not session.choices)
    before = first_token_uncertainty(session, question, ()) if known else None
    after = first_token_uncertainty(session, question, crops) if known and crops else before

    plain, _ = session.answer(question, ())
    if accept and crops and before and after and not accepts(before, after, options.gate):
        crops, reason = (), "declined"

    answer = plain
    used: tuple[Box, ...] = ()
    if crops:
        answer, used = session.answer(question, crops)
    return Grounding(
        question=question,
        size=session.image.size,
        steps=tuple(steps),
        crops=used,
        stop_reason=reason,
        plain_answer=plain.text,
        answer=answer.text,
        cost=session.ledger.cost(),
        before=before,
        after=after,
        truncated=plain.cut_off or answer.cut_off,
    )
