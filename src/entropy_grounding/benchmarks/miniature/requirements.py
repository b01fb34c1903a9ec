"""What a miniature must show of a tiny VLM."""

# What a miniature must show: the smallest gain of the oracle crop over the plain answer, or, where no zoom is needed, the largest
# difference between them and the smallest plain score; in points.
GAINS = {
    "mini_textvqa": 25.0,
    "mini_vstar": 25.0,
    "mini_docvqa": 25.0,
    "mini_infovqa": 25.0,
    "mini_pope": 8.0,
}
HIDDEN = tuple(
    name.removeprefix("mini_") for name in GAINS
)  # the benchmarks whose evidence the full picture hides
WITHOUT_ZOOM, PLAIN_AT_LEAST = 5.0, 70.0


def meets(benchmark: str, plain: float, oracle: float) -> tuple[str, bool]:
    """Return what is required of a miniature, and whether these scores (in percent) meet it."""
    if benchmark in GAINS:
        return f"oracle >= plain + {GAINS[benchmark]:.0f}", oracle >= plain + GAINS[benchmark]
    required = f"within {WITHOUT_ZOOM:.0f}, plain >= {PLAIN_AT_LEAST:.0f}"
    return required, abs(oracle - plain) <= WITHOUT_ZOOM and plain >= PLAIN_AT_LEAST
