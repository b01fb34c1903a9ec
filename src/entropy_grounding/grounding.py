"""Ground one question about one image, by the paper's method or by a baseline."""

from collections.abc import Sequence

from PIL import Image

from entropy_grounding.baselines import METHODS
from entropy_grounding.baselines.privileged import Privileged
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.records import Grounding, RelevanceMap
from entropy_grounding.method.answer import finish
from entropy_grounding.method.anytime import anytime
from entropy_grounding.method.options import GroundingOptions, at_depth
from entropy_grounding.method.zoom import Progress, ground_round, silent, zoom
from entropy_grounding.vlm.contexts import frozen, own_gradients
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.session import MAX_NEW_TOKENS, ImageSession


@own_gradients
def ground(
    vlm: VLM,
    image: Image.Image,
    question: str,
    options: GroundingOptions | None = None,
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    choices: Sequence[tuple[str, str]] = (),
    given: Privileged | None = None,
    progress: Progress = silent,
) -> Grounding:
    """Answer a question about an image by zooming into what the model's own uncertainty points at.

    If ``options.crops`` names a baseline or a control, that one answers: same prompt, same model,
    same record.

    Args:
        vlm: a vision-language model from `load_vlm`.
        image: the original image, in any Pillow mode.
        question: the question, without any chat template.
        options: every choice of the method; the paper's by default.
        max_new_tokens: length limit of the answers; an evaluation takes that of its protocol.
        choices: (letter, text) pairs. If given, the answers are letters of the most likely texts.
        given: what only controls and oracles may know.
        progress: called after every round with the number of rounds and the decision, None to go
            on.

    Returns:
        The maps, regions and entropies of every round, the stop reason, and both answers.

    Raises:
        InputError: for an image or question that cannot be used, non-finite logits, or a model
            without gradients.
    """
    options = _for_model(options, vlm)
    session = ImageSession(
        vlm,
        image,
        choices,
        reuse=options.reuse == "exact",
        crop_scale=options.crop_scale,
        max_new_tokens=max_new_tokens,
    )
    if not question.strip():
        raise InputError("The question is empty: pass a question about the image.")
    if options.crops.startswith("oracle") and given is None:
        raise InputError(
            f"method.crops is '{options.crops}': "
            "such crops need evidence boxes, so use it in an evaluation only."
        )

    with frozen(vlm.model):
        if options.crops == "anytime":
            return anytime(session, question, options, progress)
        if options.crops != "found":
            return METHODS[options.crops](session, question, options, given or Privileged())

        steps, crops, reason = zoom(session, question, options, progress)
        return finish(session, question, crops, options, reason, steps)


@own_gradients
def relevance_map(
    vlm: VLM, image: Image.Image, question: str, options: GroundingOptions | None = None
) -> RelevanceMap:
    """Return the map of the full image alone, before any zoom (paper, steps 1-4).

    For a family with several token grids it is the map of the first.
    """
    session = ImageSession(vlm, image)
    return ground_round(session, question, (), _for_model(options, vlm)).maps[0]


def _for_model(options: GroundingOptions | None, vlm: VLM) -> GroundingOptions:
    """Return the options, the paper's by default, with the layers of this model."""
    return at_depth(options or GroundingOptions(), len(vlm.model.get_decoder().layers))
