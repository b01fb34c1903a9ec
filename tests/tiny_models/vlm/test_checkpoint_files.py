"""Files of a checkpoint that are missing, cut off, or of another family: one sentence each."""

import builtins
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from entropy_grounding.core.errors import InputError
from entropy_grounding.tiny.architectures import (
    Size,
    build_internvl,
    build_llava,
    build_llava_next,
    build_qwen2_5_vl,
)
from entropy_grounding.tiny.train import save_release
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.weights import INDEX, SMALL_FILES

BUILD = {
    "llava": build_llava,
    "llava_next": build_llava_next,
    "internvl": build_internvl,
    "qwen2_5_vl": build_qwen2_5_vl,
}
FAMILIES = tuple(BUILD)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """An untrained checkpoint of every family."""
    folder = tmp_path_factory.mktemp("released")
    for family, build in BUILD.items():
        torch.manual_seed(0)
        save_release(*build(Size(32, 1, 1)), folder / family)
    return folder


@pytest.fixture
def copy(released, tmp_path):
    def copied(family):
        return shutil.copytree(released / family, tmp_path / family)

    return copied


def refusal(folder, **options):
    """Return the sentence with which a folder is refused."""
    with pytest.raises(InputError) as refused:
        load_vlm(VLMConfig(name="x", weights=str(folder), **options))

    sentence = str(refused.value)
    assert len(sentence.splitlines()) == 1
    assert "HYDRA_FULL_ERROR" not in sentence  # a reason that was foreseen, not the general one
    return sentence


def in_shards(folder):
    """Split the weights into two files with an index, as every large checkpoint has them."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {f"model-{number}-of-2.safetensors": names[number - 1 :: 2] for number in (1, 2)}
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, part in files.items() for name in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


# --- half a download ---


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kept", [0, 5, 300, -1000])
def test_a_weight_file_that_is_cut_off_is_named_with_its_sizes(copy, family, kept):
    path = copy(family) / "model.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:kept])

    sentence = refusal(path.parent)
    assert f"'{path}' is cut off or damaged (it has {path.stat().st_size:,} bytes" in sentence
    assert "download it again" in sentence
    if kept > 8 or kept < 0:
        assert kept == 300 or f"its header says {size:,}" in sentence


def test_a_shard_that_is_cut_off_is_named(copy):
    path = in_shards(copy("llava")) / "model-2-of-2.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    assert f"'{path}' is cut off" in refusal(path.parent)


@pytest.mark.parametrize("file", ["model-1-of-2.safetensors", "model-2-of-2.safetensors"])
def test_a_shard_that_the_index_names_and_the_folder_lacks_is_named(copy, file):
    folder = in_shards(copy("llava"))
    (folder / file).unlink()
    sentence = refusal(folder)
    assert f"has no {file}: {INDEX} names it" in sentence
    assert "resumes" in sentence


def test_shards_without_their_index_are_told_from_no_weights(copy):
    folder = in_shards(copy("llava"))
    (folder / INDEX).unlink()
    assert f"it has model-1-of-2.safetensors, so its {INDEX} is missing" in refusal(folder)


def test_a_shard_that_is_a_pointer_is_named(copy):
    path = in_shards(copy("llava")) / "model-1-of-2.safetensors"
    path.write_bytes(POINTER)
    assert f"'{path}' is a git-lfs pointer" in refusal(path.parent)


@pytest.mark.parametrize("family", FAMILIES)
def test_small_files_that_are_pointers_or_cut_off_are_named(copy, family):
    folder = copy(family)
    found = [name for name in SMALL_FILES if (folder / name).is_file()]
    assert len(found) >= 5
    for name in found:
        path, before = folder / name, (folder / name).read_bytes()
        path.write_bytes(POINTER)
        assert f"'{path}' is a git-lfs pointer" in refusal(folder)
        if path.suffix == ".json":
            path.write_bytes(before[: len(before) // 2])
            assert f"'{path}' is damaged or cut off" in refusal(folder)
        path.write_bytes(before)
    load_vlm(VLMConfig(name="x", weights=str(folder)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "tokenizer_config.json", "processor_config.json"]
)
def test_a_small_file_that_is_missing_is_named(copy, family, file):
    folder = copy(family)
    (folder / file).unlink()
    assert f"has no {file}" in refusal(folder)


def test_a_processor_that_says_nothing_of_pictures_needs_the_file_that_does(copy):
    """The released LLaVA has both files; without the second, the hub was blamed."""
    folder = copy("llava")
    path = folder / "processor_config.json"
    values = json.loads(path.read_text())
    pictures = values.pop("image_processor")
    path.write_text(json.dumps(values))
    assert "has no preprocessor_config.json, and its processor_config.json" in refusal(folder)

    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    load_vlm(VLMConfig(name="x", weights=str(folder)))

    # Without the other file the model says what the processor needs to know.
    path.unlink()
    load_vlm(VLMConfig(name="x", weights=str(folder)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_without_chat_template_names_the_files_that_may_hold_it(copy, family):
    folder = copy(family)
    (folder / "chat_template.jinja").unlink()
    sentence = refusal(folder)
    assert "has no chat template (chat_template.jinja, chat_template.json" in sentence
    assert str(folder) in sentence


# --- of another family ---


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("other", FAMILIES)
def test_the_processor_of_another_family_is_refused(copy, released, family, other):
    if family == other:
        return
    folder = copy(family)
    shutil.copy(released / other / "processor_config.json", folder)
    assert "is of another family" in refusal(folder)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("other", FAMILIES)
def test_processor_and_tokenizer_of_another_family_are_refused(copy, released, family, other):
    if family == other:
        return
    folder = copy(family)
    for path in (released / other).iterdir():
        if path.name not in ("config.json", "generation_config.json", "model.safetensors"):
            shutil.copy(path, folder)
    sentence = refusal(folder)
    assert "that came with these weights" in sentence


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tokenizer_without_the_image_token_is_refused(copy, family):
    folder = copy(family)
    image_token = load_vlm(VLMConfig(name="x", weights=str(folder))).processor.image_token
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    values["added_tokens"] = [
        token for token in values["added_tokens"] if token["content"] != image_token
    ]
    values["model"]["vocab"].pop(image_token, None)
    path.write_text(json.dumps(values))
    assert "does not know the image token: config.json gives it" in refusal(folder)


# --- code of a checkpoint ---


def test_the_checkpoint_of_another_library_is_told_to_the_reader(copy, monkeypatch):
    """OpenGVLab/InternVL3_5-8B asked on standard input whether to run its code."""
    folder = copy("internvl")
    (folder / "configuration_internvl_chat.py").write_text("class InternVLChatConfig: pass\n")
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values |= {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
    }
    path.write_text(json.dumps(values))
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked on standard input"))
    sentence = refusal(folder)
    assert f"use the checkpoint for transformers, '{folder}-HF'" in sentence
