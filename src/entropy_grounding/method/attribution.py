"""Attribution: one number per visual token (paper, step 3).

The paper's is the gradient of a target. The others (attention and its variants) keep the loop
around it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from entropy_grounding.core.errors import InputError
from entropy_grounding.method.options import OF_THE_VLM, GroundingOptions
from entropy_grounding.method.regions import elbow_threshold
from entropy_grounding.method.relevance import RELEVANCES
from entropy_grounding.method.stopping import spatial_entropy
from entropy_grounding.method.target import TARGETS, max_log_probability
from entropy_grounding.vlm.contexts import first_layers
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.session import ImageSession
from entropy_grounding.vlm.types import Prompt, TokenGradients

LOCALIZATION_HEADS = 3  # heads whose maps are added


@dataclass(frozen=True, slots=True)
class TokenRelevance:
    """How relevant each visual token of a prompt is.

    Attributes:
        logits: next-token logits of the prompt ``(vocabulary,)``.
        relevance: one number per visual token ``(tokens,)``.
        checkpointed: the backward pass ran the layers again.
    """

    logits: Tensor
    relevance: Tensor
    checkpointed: bool = False


@dataclass(frozen=True, slots=True)
class Attribution:
    """A way to compute `TokenRelevance`.

    Attributes:
        compute: runs a prompt and returns the relevance.
        backwards: number of backward passes, besides one forward pass.
    """

    compute: Callable[[VLM, Prompt, GroundingOptions], TokenRelevance]
    backwards: int


def token_relevance(
    session: ImageSession, prompt: Prompt, options: GroundingOptions
) -> TokenRelevance:
    """Return the relevance of each visual token of a prompt, by ``options.signal``.

    The gradient of the paper takes the pass that the answer resumes, so it is computed once per
    prompt.
    """
    if session.reuse and options.differentiates_prompts:
        name = ("relevance", options.target, options.relevance)
        return session.once(name, prompt, lambda: _of_own_pass(session, prompt, options))

    attribution = ATTRIBUTIONS[options.signal]
    session.ledger.forward(prompt, backwards=attribution.backwards)
    if options.answer_token > 1:  # the answer up to that token
        session.ledger.forward(prompt)

    with session.ledger.timed("map_seconds"):
        found = attribution.compute(session.vlm, prompt, options)
    if found.checkpointed:
        session.ledger.checkpointed()
    return found


def _of_own_pass(
    session: ImageSession, prompt: Prompt, options: GroundingOptions
) -> TokenRelevance:
    """Return the relevance by the gradient at the pass of a prompt.

    If the pass resumes behind the full image, the tokens of that keep the relevance that they had
    alone.
    """
    done = session.run(prompt, differentiable=True, resume=options.reground == "crops")
    gradients = session.gradient(done, TARGETS[options.target])
    found = _of_gradients(gradients, session.vlm, options)
    if done.start == 0:
        return found

    first = token_relevance(session, session.first_prompt, options)
    return TokenRelevance(found.logits, torch.cat([first.relevance, found.relevance]))


def _of_gradients(gradients: TokenGradients, vlm: VLM, options: GroundingOptions) -> TokenRelevance:
    """Return one number per visual token, of all that enters for it or of its embedding alone.

    Raises:
        InputError: for "first" where visual tokens enter at one layer only.
    """
    rows, tokens = gradients.gradients, gradients.embeddings
    if options.injections == "first":
        width = vlm.model.config.get_text_config().hidden_size
        if rows.shape[-1] == width:
            raise InputError(
                f"method.injections=first has no meaning for '{vlm.name}': its visual tokens enter "
                "at one layer; use all."
            )
        rows, tokens = rows[:, :width], tokens[:, :width]

    return TokenRelevance(gradients.logits, RELEVANCES[options.relevance](rows, tokens))


def neutral_question(vlm: VLM, options: GroundingOptions) -> str | None:
    """Return the question whose map divides, None for no division."""
    if options.neutral_question == OF_THE_VLM:
        return vlm.neutral_question
    return options.neutral_question


# --- The attributions ---


def gradient(vlm: VLM, prompt: Prompt, options: GroundingOptions) -> TokenRelevance:
    """Return the gradient of a target, made one number per visual token (paper, steps 2-3).

    ``options.gradient_layer`` takes the gradient at the inputs of that decoder layer, at the same
    positions. ``options.answer_token`` lets the target see the logits of that token of the greedy
    answer, and ``options.decoder_layers`` those that the language model has after so many layers.
    """
    prompt = vlm.continued(prompt, options.answer_token - 1)

    with first_layers(vlm.model, options.decoder_layers):
        if options.gradient_layer is None:
            done = vlm.run([prompt], every_position=options.reuse == "off")
        else:
            done = vlm.run_from_layer(prompt, options.gradient_layer)
        (gradients,) = vlm.backward(done, TARGETS[options.target])

    return replace(_of_gradients(gradients, vlm, options), checkpointed=done.checkpointed)


def attention(vlm: VLM, prompt: Prompt, options: GroundingOptions) -> TokenRelevance:
    """Return the attention from the last position to the visual tokens, mean over heads.

    With ``options.neutral_question`` it is the relative attention "rel-att" of ViCrop (arXiv
    2502.17422).
    """
    weights = vlm.attention(prompt)
    by_layer = weights.weights.mean(1)  # (layers, tokens)

    return TokenRelevance(weights.logits, of_layers(by_layer, vlm, options))


def gradient_attention(vlm: VLM, prompt: Prompt, options: GroundingOptions) -> TokenRelevance:
    """Return attention x ReLU(d log p(t*) / d attention), mean over heads, t* the likeliest token.

    This is "grad-att" of ViCrop (arXiv 2502.17422).
    """
    weights = vlm.attention(prompt, max_log_probability)
    assert weights.gradients is not None
    by_layer = (weights.weights * weights.gradients.relu()).mean(1)  # (layers, tokens)

    return TokenRelevance(weights.logits, of_layers(by_layer, vlm, options))


def localization_heads(vlm: VLM, prompt: Prompt, options: GroundingOptions) -> TokenRelevance:
    """Return the sum of the attention of the heads that look most at one place of the image.

    Heads are chosen for each question (arXiv 2503.06287): of those whose attention to the full
    image reaches the elbow of all heads, the three of lowest spatial entropy. Their paper fixes
    three heads per model after 1,000 examples.
    """
    weights = vlm.attention(prompt)
    heads = weights.weights.flatten(0, 1)  # (layers x heads, tokens)
    grids = heads.double().cpu().numpy()[:, prompt.views[0].token_indices]
    sums = grids.sum((1, 2))

    ranked = []
    for head in np.flatnonzero(sums >= elbow_threshold(sums)):
        scatter = spatial_entropy(grids[head], 0.0, offset=options.stopping.offset)
        ranked.append((scatter, -sums[head], int(head)))  # of equal ones the head that looks most

    best = [head for *_, head in sorted(ranked)[:LOCALIZATION_HEADS]]
    return TokenRelevance(weights.logits, heads[best].sum(0))


def of_layers(
    relevance: Float[Tensor, "layers tokens"], vlm: VLM, options: GroundingOptions
) -> Float[Tensor, " tokens"]:
    """Return the relevance of the layer that ``vlm.attention_layer`` names, or the mean of all.

    Raises:
        InputError: when a chosen layer is asked for, and the configuration names none or one that
            the model lacks.
    """
    if options.layers == "mean":
        return relevance.mean(0)

    layer = vlm.attention_layer
    if layer is None or not 0 <= layer < len(relevance):
        raise InputError(
            f"vlm.attention_layer is {layer}: method.layers=chosen needs one from 0 to "
            f"{len(relevance) - 1}, or use method.layers=mean."
        )
    return relevance[layer]


ATTRIBUTIONS: dict[str, Attribution] = {
    "gradient": Attribution(gradient, 1),
    "attention": Attribution(attention, 0),
    "gradient_attention": Attribution(gradient_attention, 1),
    "localization_heads": Attribution(localization_heads, 0),
}
