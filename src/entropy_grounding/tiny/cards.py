"""The model card of a tiny VLM, which `eg train` writes beside its weights."""

from collections.abc import Iterable

from entropy_grounding.core.cards import LICENCE, card
from entropy_grounding.tiny.batches import Stage

CARD = "README.md"  # as the hub names it; no part of a checkpoint's identity


def model_card(
    family: str,
    architecture: str,
    parameters: int,
    dtype: str,
    stages: Iterable[Stage],
    commit: str,
) -> str:
    """Return the model card of a tiny VLM.

    Args:
        family: a key of `RECIPES`.
        architecture: name of its class in transformers.
        parameters: how many weights it has.
        dtype: of the saved weights.
        stages: of the recipe that trained it.
        commit: of the code that trained it.
    """
    about = {
        "license": LICENCE,
        "language": "en",
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["tiny-vlm", "entropy-grounding", "not-for-production"],
    }
    return card(
        about,
        f"tiny_{family}: a tiny VLM, not {architecture.removesuffix('ForConditionalGeneration')}",
        f"A `{architecture}` with {parameters / 1e6:.1f} M weights in {dtype}, trained from "
        "scratch for tests and demonstrations of entropy-gradient grounding on a CPU. **It is not "
        "a released checkpoint**, shares no weight with one, and says nothing about its scores.",
        "It knows coloured cards, signs, forms and charts with letters, and the words of their "
        "questions. It cannot read photographs or other questions.",
        "## Training",
        "Data: drawn scenes alone (package `entropy_grounding.benchmarks.miniature`), with the "
        "DejaVu font that ships with matplotlib. No picture and no text of any data set.",
        f"Recipe: `conf/recipe/{family}.yaml`, `eg train recipe={family}`. Its stages:",
        _stages_table(stages),
        "Weights may have grown from those of an earlier release; docs/tiny_vlms.md has the "
        "history and the scores.",
        f"Licence: Apache-2.0. Commit: {commit}.",
    )


def _stages_table(stages: Iterable[Stage]) -> str:
    lines = ["| stage | steps | batch | learning rate |", "|---|---|---|---|"]
    for stage in stages:
        lines.append(f"| {stage.kind} | {stage.steps} | {stage.batch} | {stage.learning_rate:g} |")

    return "\n".join(lines)
