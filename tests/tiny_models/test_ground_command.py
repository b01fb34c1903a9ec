"""The command line, as a user types it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from entropy_grounding.ask import main

NAMES = {"grounding.json", "grounding.png"}


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def ground(*arguments, folder, tracking="disabled"):
    return subprocess.run(
        [sys.executable, "-m", "entropy_grounding.ground", f"run_dir={folder}", f"tracking={tracking}", *arguments],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )


def test_a_scene_is_answered_and_everything_is_written(tmp_path):
    folder = tmp_path / "run"
    done = ground("seed=6", folder=folder, tracking="offline")
    assert done.returncode == 0, done.stderr
    assert "zoomed answer" in done.stdout
    record = json.loads((folder / "grounding.json").read_text())
    names = {path.name for path in folder.iterdir()}
    assert {*NAMES, *(f"crop_{i + 1}.png" for i in range(len(record["crops"])))} <= names
    assert record["answer"] != record["plain_answer"]
    assert len(record["steps"][0]["maps"][0]["relevance"]) == 8
    assert list((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert "wandb" not in (done.stdout + done.stderr).lower()
    assert names_in(tmp_path) == ["run"]


def test_a_photo_with_an_unknown_word_is_answered_with_a_warning(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.jpg")
    done = ground(f"image={tmp_path / 'photo.jpg'}", "question=What's on the sign, reader?", folder=tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "does not know the words reader" in done.stderr
    assert json.loads((tmp_path / "run" / "grounding.json").read_text())["question"] == "What's on the sign, reader?"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["image=absent.jpg", "question=What?"], "No image file at 'absent.jpg'"),
        (["image=broken.jpg", "question=What?"], "not a picture"),
        (["image=dot.png", "question=What?"], "1 x 1 pixels"),
        (["image=dot.png"], "The question is empty"),
        (["image=dot.png", "question=  "], "The question is empty"),
        (["method=unknown"], "Could not find 'method/unknown'"),
        (["method.regions.sigma=wide"], "wide"),
        (["method.stopping.rule=never"], "Unknown stopping.rule 'never'"),
        (["vlm=unknown"], "Could not find 'vlm/unknown'"),
        (["vlm.weights=./empty"], "has no config.json"),
        (["vlm.weights=tiny:unknown"], "No tiny weights"),
        (["frobnicate=1"], "frobnicate"),
        (["seed=-1"], "seed is -1"),
        (["run_dir=dot.png"], "Could not write to 'dot.png'"),
    ],
)
def test_bad_input_ends_in_one_message_and_no_output(tmp_path, monkeypatch, capsys, arguments, complaint):
    (tmp_path / "broken.jpg").write_text("no picture")
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["ground", "run_dir=run", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    message = f"{ended.value.code if isinstance(ended.value.code, str) else ''}{capsys.readouterr().err}"
    assert ended.value.code not in (0, None)
    assert complaint in message
    assert "Traceback" not in message
    assert names_in(tmp_path) == ["broken.jpg", "dot.png", "empty"]


def test_an_error_is_one_line_and_a_failing_exit(tmp_path):
    done = ground("image=absent.jpg", "question=What?", folder=tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.splitlines() == ["error: No image file at 'absent.jpg': check the path (image=...)."]
    assert names_in(tmp_path) == []
