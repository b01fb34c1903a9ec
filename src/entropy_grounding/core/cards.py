"""What cards of models and data sets share: licence, citation, and the format of the hub."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import CardData

LICENCE = "apache-2.0"
CITATION = """```bibtex
@article{groepl2026entropy,
  title   = {Entropy-Gradient Grounding: Training-Free Evidence Retrieval in Vision-Language Models},
  author  = {Gr{\\"o}pl, Marcel and Jung, Jaewoo and Kim, Seungryong and Pollefeys, Marc and Hong, Sunghwan},
  journal = {arXiv preprint arXiv:2604.08456},
  year    = {2026}
}
```"""  # noqa: E501 - as README has it


def card(about: Mapping[str, Any], title: str, *paragraphs: str) -> str:
    """Return a card in the hub's format: values that it reads, then text, then the citation.

    Args:
        about: the values, by the names of the hub.
        title: of the text.
        paragraphs: in order.
    """
    values = CardData(**about).to_yaml().strip()
    text = [f"# {title}", *paragraphs, "## Citation", CITATION]
    return f"---\n{values}\n---\n\n" + "\n\n".join(text) + "\n"
