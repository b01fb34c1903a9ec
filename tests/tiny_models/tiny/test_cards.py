"""Model cards: those in the repository are what the saving code writes, in the hub's format."""

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, ModelCardData
from safetensors import safe_open

from entropy_grounding.core.cards import CITATION
from entropy_grounding.core.config import compose_config
from entropy_grounding.core.identity import file_digest
from entropy_grounding.tiny.architectures import RECIPES
from entropy_grounding.tiny.cards import CARD, model_card
from entropy_grounding.tiny.train import TrainConfig, Trainer
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.weights import SMALL_FILES, TINY, weights_identities

ROOT = Path(__file__).resolve().parents[3]


def dtype_of(family):
    with safe_open(TINY / family / "model.safetensors", "pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    return {"F32": "float32", "BF16": "bfloat16"}[kinds.pop()]


@pytest.mark.parametrize("family", list(RECIPES))
def test_the_card_of_released_weights_is_what_the_saving_code_writes(family):
    text = (TINY / family / CARD).read_text()
    recipe = compose_config([f"recipe={family}"], "train", TrainConfig)
    model = load_vlm(f"tiny_{family}").model
    commit = re.search(r"Commit: ([0-9a-f]{7,})\.", text)[1]
    assert text == model_card(
        family,
        type(model).__name__,
        model.num_parameters(),
        dtype_of(family),
        recipe.stages,
        commit,
    )


@pytest.mark.parametrize("family", list(RECIPES))
def test_the_hub_reads_a_model_card(family):
    read = ModelCard.load(TINY / family / CARD)
    assert isinstance(read.data, ModelCardData)
    assert read.data.license == "apache-2.0"
    assert read.data.pipeline_tag == "image-text-to-text"
    assert read.data.library_name == "transformers"
    assert "not a released checkpoint" in read.text
    assert "@article{groepl2026entropy" in read.text


def test_a_card_is_no_part_of_the_identity_of_weights():
    assert CARD not in SMALL_FILES
    released = dict(
        line.split("  ")[::-1] for line in (TINY / "SHA256SUMS").read_text().splitlines()
    )
    weights = "llava/model.safetensors"
    assert weights_identities("tiny:llava") == {"weights": released[weights]}
    assert file_digest(TINY / weights) == released[weights]


def test_training_writes_the_card_beside_the_weights(tmp_path):
    options = ["recipe=qwen2_5_vl", "start_from=[]", "language_from=null", "tracking=disabled"]
    options += [f"run_dir={tmp_path}", "stages=[]"]
    config = compose_config(options, "train", TrainConfig)
    folder = Trainer(config).fit()
    read = ModelCard.load(folder / CARD)
    assert read.text.strip().startswith("# tiny_qwen2_5_vl: a tiny VLM, not Qwen2_5_VL")


def test_the_citation_is_that_of_the_readme():
    assert (
        CITATION.removeprefix("```bibtex\n").removesuffix("\n```")
        in (ROOT / "README.md").read_text()
    )
