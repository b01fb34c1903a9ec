"""The command line, as a user types it."""

import hashlib
import json
import os
import subprocess
import sys
from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

from entropy_grounding.app import output
from entropy_grounding.commands.ground import main
from entropy_grounding.core.environment import environment_of
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.vlm.weights import weights_identities

NAMES = {"grounding.json", "grounding.png"}


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def ground(*arguments, folder, tracking="disabled"):
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "entropy_grounding",
            "ground",
            f"run_dir={folder}",
            f"tracking={tracking}",
            *arguments,
        ],
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


def test_a_photo_with_an_unknown_word_is_answered_with_a_warning(tmp_path, monkeypatch, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.jpg")
    status, said = answer(
        monkeypatch,
        capsys,
        f"image={tmp_path / 'photo.jpg'}",
        "question=What's on the sign, reader?",
        f"run_dir={tmp_path / 'run'}",
    )
    assert status == 0, said.err
    assert "does not know the words reader" in said.err
    assert (
        json.loads((tmp_path / "run" / "grounding.json").read_text())["question"]
        == "What's on the sign, reader?"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["image=absent.jpg", "question=What?"],
            "error: No image file at 'absent.jpg': check the path (image=...).",
        ),
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
def test_bad_input_ends_in_one_message_and_no_output(
    tmp_path, monkeypatch, capsys, arguments, complaint
):
    (tmp_path / "broken.jpg").write_text("no picture")
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["ground", "run_dir=run", *arguments])
    with pytest.raises(SystemExit) as ended:
        main(Namespace())
    (message,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert message.startswith("error: ")
    assert complaint in message
    assert names_in(tmp_path) == ["broken.jpg", "dot.png", "empty"]


def answer(monkeypatch, capsys, *arguments):
    """Run the command in this process, and return its exit status and what it printed."""
    monkeypatch.setattr("sys.argv", ["ground", "tracking=disabled", *arguments])
    status = 0
    try:
        main(Namespace())
    except SystemExit as ended:
        status = ended.code
    return status, capsys.readouterr()


@pytest.mark.parametrize("name", ['x=1 (ü), it\'s [v1] {a} $HOME "q"', "${b}\\"])
def test_places_are_taken_as_typed(name, tmp_path, monkeypatch, capsys, scene):
    monkeypatch.chdir(tmp_path)
    scene[0].save(tmp_path / f"{name}.png")
    status, said = answer(
        monkeypatch,
        capsys,
        f"image={name}.png",
        r"question=Is $\frac{1}$, or 'it'?",
        f"run_dir={name} run",
    )
    assert status == 0, said.err
    assert names_in(tmp_path) == sorted([f"{name}.png", f"{name} run"])
    record = json.loads((tmp_path / f"{name} run" / "grounding.json").read_text())
    assert record["image"] == f"{name}.png"
    assert record["question"] == r"Is $\frac{1}$, or 'it'?"


def test_a_place_in_the_home_folder_is_found(tmp_path, monkeypatch, capsys, scene):
    monkeypatch.setenv("HOME", str(tmp_path))
    scene[0].save(tmp_path / "photo.png")
    status, said = answer(
        monkeypatch, capsys, "image=~/photo.png", "question=What letter is it?", "run_dir=~/run"
    )
    assert status == 0, said.err
    assert names_in(tmp_path) == ["photo.png", "run"]


def test_the_record_says_what_the_answer_came_from(tmp_path, monkeypatch, capsys, scene, tiny_vlm):
    scene[0].save(tmp_path / "photo.png")
    answer(
        monkeypatch,
        capsys,
        f"image={tmp_path / 'photo.png'}",
        "question=What letter is it?",
        f"run_dir={tmp_path / 'run'}",
    )
    record = json.loads((tmp_path / "run" / "grounding.json").read_text())
    assert (
        record["image_sha256"] == hashlib.sha256((tmp_path / "photo.png").read_bytes()).hexdigest()
    )
    assert record["seed"] is None
    assert record["weights"] == weights_identities("tiny:llava")
    assert record["commit"] == commit()
    assert record["environment"] == environment_of(tiny_vlm)
    answer(monkeypatch, capsys, "seed=6", f"run_dir={tmp_path / 'scene'}")
    record = (tmp_path / "scene" / "grounding.json").read_text()
    assert (json.loads(record)["seed"], json.loads(record)["image"]) == (6, None)
    assert str(tmp_path) not in record


def test_a_figure_that_cannot_be_drawn_costs_no_answer_and_no_file(tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise MemoryError("no room for a figure")

    (tmp_path / "grounding.png").write_text("of an earlier run")
    monkeypatch.setattr(output, "plot_grounding", fails)
    status, said = answer(monkeypatch, capsys, "seed=6", f"run_dir={tmp_path}")
    assert status == 2
    assert "zoomed answer  " in said.out
    assert (
        "The figure could not be drawn (no room for a figure): the answers and all other files are "
        "in" in said.err
    )
    assert {"grounding.json", "crop_1.png"} <= set(names_in(tmp_path))
    assert not [name for name in names_in(tmp_path) if name.startswith((".", "grounding.png"))]


def test_online_without_a_login_is_refused_before_the_work(tmp_path):
    """In a process of its own, as the next command of a user: one line, and a failing exit."""
    login = {"NETRC": str(tmp_path / "none"), "HOME": str(tmp_path / "home")}
    command = [
        sys.executable,
        "-m",
        "entropy_grounding",
        "ground",
        f"run_dir={tmp_path / 'run'}",
        "tracking=online",
    ]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("WANDB_")
    } | login
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said.startswith(
        "error: tracking=online needs a login to Weights & Biases, and there is none"
    )
    assert not (tmp_path / "run").exists()
