"""What the scores of a tiny VLM on a miniature must show."""

from entropy_grounding.benchmarks.names import drawn_sibling, kind_of

# The smallest gain of the oracle crop over the plain answer, in points.
GAINS = {
    "mini_textvqa": 25.0,
    "mini_vstar": 25.0,
    "mini_docvqa": 25.0,
    "mini_infovqa": 25.0,
    "mini_pope": 8.0,
    "mini_highres": 25.0,
    "mini_highres_fine": 25.0,
}

_HIDDEN = {kind_of(name) for name in GAINS}

# High resolution, in percent of questions with four options: the largest plain score (near chance,
# 25), the smallest score with the oracle crop, and how many points one round stays behind it.
PLAIN_AT_MOST, ORACLE_AT_LEAST, ONE_ROUND_BEHIND = 40.0, 80.0, 20.0

# The VLMs that each size of the cards was made for.
MADE_FOR = {
    "mini_highres": ("tiny_llava", "tiny_qwen2_5_vl"),
    "mini_highres_fine": ("tiny_llava_next", "tiny_internvl"),
}

# If no zoom is needed: the largest difference between both scores, and the smallest plain score.
WITHOUT_ZOOM, PLAIN_AT_LEAST = 5.0, 70.0


def hides_evidence(benchmark: str) -> bool:
    """Tell whether the evidence of a benchmark, or of its miniature, is hard to see without zoom.

    They are the five that the paper calls fine-grained, and their composites.
    """
    return kind_of(drawn_sibling(benchmark)) in _HIDDEN


def meets(benchmark: str, plain: float, oracle: float) -> tuple[str, bool]:
    """Return (requirement of a miniature, whether the scores meet it).

    Args:
        benchmark: name of the miniature, such as "mini_textvqa".
        plain: score of the plain answer, in percent.
        oracle: score with the oracle crop, in percent.
    """
    if benchmark in GAINS:
        return f"oracle >= plain + {GAINS[benchmark]:.0f}", oracle >= plain + GAINS[benchmark]

    required = f"within {WITHOUT_ZOOM:.0f}, plain >= {PLAIN_AT_LEAST:.0f}"
    return required, abs(oracle - plain) <= WITHOUT_ZOOM and plain >= PLAIN_AT_LEAST
