"""The command that runs an experiment again: what it refuses, and what it plans. No model."""

import pytest

from entropy_grounding.commands.rerun import rerun
from entropy_grounding.core.errors import InputError

SMOKE = ("run=smoke", "benchmark=mini_gqa", "tracking=disabled")


@pytest.fixture
def folders(tmp_path):
    return f"results_dir={tmp_path}/results", f"output_dir={tmp_path}/notebooks"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("experiment=tabel1", "Could not find 'experiment/tabel1'"),
        ("experimnt=table1", "Key 'experimnt' not in"),
        ("run=smok", "Could not find 'run/smok'"),
        ("vlm=tiny_lava", "Unknown vlm 'tiny_lava'"),
        ("benchmark=mini_gqaa", "Unknown benchmark 'mini_gqaa'"),
        ("method=search_9", "Unknown method 'search_9'"),
        ("method.sigma=2", "Key 'sigma' not in"),
        ("tracking=loud", "Could not find 'tracking/loud'"),
        ("run.examples=9", "reaches no cell"),
        ("gpus=-1", "gpus is -1"),
        ("gpus=two", "'two'.*could not be converted to Integer"),
        ("hydra/launcher=slrum", "Could not find 'hydra/launcher/slrum'"),
        ("hydra.launcher.n_jobs=2", "Key 'n_jobs' not in 'BasicLauncherConf'"),
    ],
)
def test_a_wrong_argument_ends_with_one_sentence_before_anything_is_written(
    argument, message, folders, tmp_path
):
    with pytest.raises(InputError, match=message) as raised:
        rerun([*SMOKE, *folders, argument])
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_prints_the_plan_and_writes_nothing(folders, tmp_path, capsys):
    rerun([*SMOKE, *folders, "method=entropy_gradient", "--dry-run"])
    assert "1 cells, 0 of 1 evaluations complete" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_full_run_says_where_nothing_can_be_localised(capsys, tmp_path):
    rerun(
        [
            "experiment=table1",
            "run=full",
            "vlm=llava_1_5_7b",
            f"results_dir={tmp_path}",
            "--dry-run",
        ]
    )
    assert (
        "docvqa, pope, infovqa, gqa, realworldqa: no boxes: no localisation"
        in capsys.readouterr().out
    )
