"""What must hold for a model of a released shape, at any size: on a GPU and for a twin on a CPU.

Every check returns the figures that it measured, and fails by assertion.
"""

import gc
import time
from dataclasses import replace

import torch
from scipy.stats import spearmanr

from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.profiling.random_vlm import SHAPES, random_vlm
from entropy_grounding.profiling.released import (
    ROUNDS,
    a_picture,
    answered,
    checkpoints,
    gpu_gigabytes,
)

# Visual tokens of a picture of 640 x 480 pixels, counted with the released processors.
TOKENS = dict(zip(SHAPES, (576, 2_340, 3_328, 391), strict=True))


def a_prompt(vlm):
    image, question = a_picture()
    return vlm.prompt(question, [vlm.encode(image)])


def relevance(vlm, prompt):
    return vlm.gradient(prompt, next_token_entropy).gradients.double().norm(dim=-1)


def hidden_scales(vlm, prompt):
    """The root mean square of the hidden states behind every decoder layer."""
    scales = []

    def record(_, __, output):
        hidden = output[0] if isinstance(output, tuple) else output
        scales.append(float(hidden.float().pow(2).mean().sqrt()))

    hooks = [layer.register_forward_hook(record) for layer in vlm.model.get_decoder().layers]
    vlm.run([prompt], graph=False)
    for hook in hooks:
        hook.remove()
    return scales


def check_logits(vlm):
    prompt = a_prompt(vlm)
    assert prompt.visual_tokens == TOKENS[vlm.name]

    logits = vlm.run([prompt], graph=False).logits[0].float()
    assert torch.isfinite(logits).all()
    scales = hidden_scales(vlm, prompt)
    assert 0.1 < min(scales) <= max(scales) < 10  # neither vanishes nor explodes

    entropy, most = float(next_token_entropy(logits)), float(torch.tensor(len(logits)).log())
    assert 0.1 * most < entropy < 0.95 * most
    return {
        "visual_tokens": prompt.visual_tokens,
        "positions": prompt.length,
        "hidden_first": scales[0],
        "hidden_last": scales[-1],
        "entropy": entropy,
    }


def check_finite_differences(vlm, change=0.005):
    """The gradient along itself against the central difference, of a model in float32.

    The step changes the target by about ``change`` nats: far above what float32 rounds away, and
    too small for the curvature to count.
    """
    prompt = a_prompt(vlm)
    found = vlm.gradient(prompt, next_token_entropy)
    direction = found.gradients / found.gradients.norm()
    reach = change / found.gradients.norm()

    with torch.no_grad():
        above, below = (
            next_token_entropy(vlm.logits(prompt, found.embeddings + sign * reach * direction))
            for sign in (1, -1)
        )
    difference = float((above.double() - below.double()) / (2 * reach.double()))
    exact = float(found.gradients.double().norm())
    assert abs(difference - exact) <= 0.02 * exact, (difference, exact)
    return {"gradient": exact, "finite_difference": difference}


def check_precision(vlm):
    """The map in bfloat16 against that of the same weights in float32; changes the model."""
    assert vlm.model.dtype == torch.bfloat16
    prompt = a_prompt(vlm)
    coarse = relevance(vlm, prompt)

    vlm.model.float()
    features = tuple(tokens.float() for tokens in prompt.features)
    fine = relevance(vlm, replace(prompt, features=features))
    correlation = float(spearmanr(coarse.cpu(), fine.cpu()).statistic)
    assert correlation >= 0.95, correlation
    return {"rank_correlation": correlation}


def check_kernel(vlm, kernel):
    """The map of another attention kernel of the language model against that of sdpa."""
    prompt = a_prompt(vlm)
    decoder = vlm.model.get_decoder()

    # The eager kernel keeps the scores of all pairs of positions: of one layer at a time.
    with checkpoints(vlm, "on"):
        usual = relevance(vlm, prompt)
        decoder.set_attn_implementation(kernel)
        try:
            other = relevance(vlm, prompt)
        finally:
            decoder.set_attn_implementation("sdpa")

    similarity = float(torch.cosine_similarity(usual, other, dim=0))
    assert similarity >= 0.99, similarity
    return {"cosine": similarity}


def check_checkpointing(vlm):
    prompt = a_prompt(vlm)
    maps, peaks, seconds = [], [], []

    for when in ("off", "on"):
        with checkpoints(vlm, when):
            peaks.append(gpu_gigabytes(lambda: maps.append(relevance(vlm, prompt))))
            if not torch.cuda.is_available():
                maps.append(relevance(vlm, prompt))
            start = time.perf_counter()
            float(relevance(vlm, prompt).sum())  # waits for the GPU
            seconds.append(time.perf_counter() - start)

    difference = float((maps[0] - maps[1]).abs().max() / maps[0].max())
    assert difference <= 0.03, difference  # kernels on a GPU add in any order
    if torch.cuda.is_available():
        assert peaks[1] < peaks[0]
    return {
        "largest_difference": difference,
        "peak_gb": peaks[0],
        "peak_gb_checkpointing": peaks[1],
        "seconds_a_map": seconds[0],
        "seconds_a_map_checkpointing": seconds[1],
    }


def check_budget(vlm):
    """A whole grounding of three rounds with two crops each fits, with checkpointing."""
    with checkpoints(vlm, "on"):
        peak = gpu_gigabytes(lambda: answered(vlm, ROUNDS))
        start = time.perf_counter()
        answered(vlm, ROUNDS)
        seconds = time.perf_counter() - start
    if torch.cuda.is_available():
        assert peak < 80, peak
    return {"peak_gb_grounding": peak, "seconds_a_grounding": seconds}


def built(name, shape, **where):
    vlm = random_vlm(shape, **where)
    vlm.name = name
    return vlm


def freed():
    """Give the memory of models that are no longer used back to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
