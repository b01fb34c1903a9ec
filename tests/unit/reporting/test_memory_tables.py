"""The table of cards in docs/real_checkpoints.md."""

import pandas as pd
import pytest

from entropy_grounding.commands.catalogue import parsed
from entropy_grounding.commands.profile import memory
from entropy_grounding.core.config import compose_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import ROOT
from entropy_grounding.evaluation.archive import read_summary, write_summary
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.profiling.memory_needs import CARDS, MEMORY, RESERVE
from entropy_grounding.profiling.random_vlm import SHAPES
from entropy_grounding.reporting.memory_tables import COMMAND, cards_table, computed_table

STORED = read_summary(ROOT / "results" / "measured" / MEMORY)
FITTING = STORED[STORED["card"].notna()]


def test_every_checkpoint_stands_on_every_card_and_fits():
    assert len(FITTING) == len(SHAPES) * len(CARDS)
    assert (FITTING["needed"] <= FITTING["card"] - RESERVE).all()


@pytest.mark.parametrize(
    "row", FITTING.to_dict("records"), ids=lambda row: f"{row['vlm']}-{row['card']:.0f}"
)
def test_every_command_composes(row):
    command = COMMAND.format(vlm=row["vlm"], options=row["options"]).split()
    config = compose_config([*command[2:], "method_name=any"], "evaluate", EvaluateConfig)
    assert config.vlm.name == row["vlm"]


def test_a_card_that_is_too_small_gets_no_command(tmp_path):
    row = {"vlm": "llava_1_5_7b", "card": 8, "weights": 14.1, "options": None, "needed": None}
    about = {"commit": "abc", "transformers": "5"}
    write_summary(tmp_path / "results" / "measured" / MEMORY, pd.DataFrame([row | about]))
    table = cards_table(tmp_path)
    assert "none fits" in table
    assert "eg evaluate" not in table
    assert "not run" in table


def test_the_document_holds_the_stored_tables():
    text = (ROOT / "docs" / "real_checkpoints.md").read_text()
    assert cards_table(ROOT) in text
    assert computed_table(ROOT) in text


def test_a_checkpoint_without_a_copy_is_refused(tmp_path):
    given = ["memory", "--weights-dir", str(tmp_path), "--results", str(tmp_path)]
    with pytest.raises(InputError, match="llava-1.5-7b-hf"):
        memory(parsed("profile", given))
    assert not (tmp_path / "measured").exists()
