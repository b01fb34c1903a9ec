"""Loading a checkpoint: the same everywhere, whole, under its own name, or refused."""

import builtins
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig
from transformers.utils import logging as transformers_logging

from entropy_grounding import ground, load_vlm, relevance_map
from entropy_grounding.app.question import ground_config
from entropy_grounding.core.environment import differences, environment_of
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.identity import UnresolvedError, hub_commit
from entropy_grounding.evaluation.archive import PUBLISHED, source_of
from entropy_grounding.tiny.architectures import Size, build_llava
from entropy_grounding.tiny.train import save_release
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.processors import check_backend
from entropy_grounding.vlm.weights import TINY, short_identity, weights_identities
from support.fuzz import damaged, retyped, tries

FAMILIES = ("llava", "llava_next", "internvl", "qwen2_5_vl")
QUESTION = "What letter is on the red card?"


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of 30,000 weights."""
    torch.manual_seed(0)
    save_release(*build_llava(Size(32, 1, 1)), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def copy_of(family, target):
    shutil.copytree(TINY / family, target)
    return target


def in_shards(folder, target, count=3):
    """The same checkpoint with its weights in several files and an index, as every 7B has them."""
    shutil.copytree(folder, target)
    (target / "model.safetensors").unlink()
    tensors = load_file(folder / "model.safetensors")
    weight_map = {}
    for number, names in enumerate(np.array_split(sorted(tensors), count)):
        file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        save_file({name: tensors[name] for name in names}, target / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names.tolist(), file)
    (target / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    return target


def change_json(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_weights(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


# --- one processor everywhere ---


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_processed_by_pillow_and_videos_by_nothing(family):
    vlm = load_vlm(f"tiny_{family}")
    assert environment_of(vlm)["image_processor"].endswith("Pil")
    assert getattr(vlm.processor, "video_processor", None) is None


def test_an_image_processor_of_another_backend_is_refused():
    with pytest.raises(InputError, match="SimpleNamespace is not of the Pillow backend"):
        check_backend(SimpleNamespace(image_processor=SimpleNamespace()))


def test_the_environment_names_what_can_change_an_answer(tiny_vlm):
    found = environment_of(tiny_vlm)
    assert (found["device"], found["dtype"], found["kernel"]) == (
        tiny_vlm.model.device.type,
        "float32",
        "sdpa",
    )
    assert found["torch"] == torch.__version__


def test_environments_differ_by_what_can_change_an_answer_only():
    stored = {"torch": "2.13.0+cpu", "device": "cpu", "torchvision": "0.29.1", "cpu": "AVX2"}
    assert not differences(
        stored, {**stored, "torch": "2.13.0+cu126", "torchvision": "0.1", "cpu": "AVX512"}
    )
    assert differences(stored, {**stored, "device": "cuda"}) == [("device", "cpu", "cuda")]
    assert differences(stored, {**stored, "torch": "2.14.1"}) == [("torch", "2.13.0+cpu", "2.14.1")]


def test_loading_leaves_the_log_of_the_caller_as_it_is():
    before = transformers_logging.get_verbosity()
    try:
        transformers_logging.set_verbosity_info()
        transformers_logging.enable_progress_bar()
        load_vlm("tiny_llava")
        assert transformers_logging.get_verbosity() == transformers_logging.INFO
        assert transformers_logging.is_progress_bar_enabled()
    finally:
        transformers_logging.set_verbosity(before)


# --- whole weights ---


@pytest.mark.parametrize(
    "name",
    [
        "model.language_model.layers.0.mlp.up_proj.weight",
        "model.multi_modal_projector.linear_1.weight",
    ],
)
@pytest.mark.parametrize("renamed", [True, False])
def test_weights_that_lack_a_tensor_are_refused(folder, name, renamed):
    path = folder / "model.safetensors"
    (stored,) = [each for each in load_file(path) if each.split(".")[-3:] == name.split(".")[-3:]]

    def change(tensors):
        tensor = tensors.pop(stored)
        if renamed:
            tensors[stored.replace("weight", "renamed")] = tensor

    change_weights(path, change)
    with pytest.raises(
        InputError,
        match=r"do not fit the model 'x': '.*" + name.rpartition(".")[0].rpartition(".")[2],
    ):
        load_vlm(VLMConfig(name="x", weights=str(folder)))


def test_weights_of_another_shape_are_refused(folder):
    change_json(
        folder / "config.json",
        text_config={
            **json.loads((folder / "config.json").read_text())["text_config"],
            "intermediate_size": 48,
        },
    )
    with pytest.raises(InputError, match="Could not load|do not fit"):
        load_vlm(VLMConfig(name="x", weights=str(folder)))


def test_a_flipped_byte_in_released_weights_is_refused(tmp_path, monkeypatch):
    shutil.copytree(TINY, tmp_path / "weights")
    monkeypatch.setattr("entropy_grounding.vlm.weights.TINY", tmp_path / "weights")
    load_vlm("tiny_llava")
    path = tmp_path / "weights" / "llava" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model.safetensors' is not the one that was released"):
        load_vlm("tiny_llava")


def test_a_git_lfs_pointer_is_named(folder):
    (folder / "model.safetensors").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n"
    )
    with pytest.raises(InputError, match="is a git-lfs pointer"):
        load_vlm(VLMConfig(weights=str(folder)))


def test_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickled weights"):
        load_vlm(VLMConfig(weights=str(folder)))


def test_an_index_that_names_another_file_is_refused(folder, tmp_path):
    target = in_shards(folder, tmp_path / "shards")
    change_json(target / "model.safetensors.index.json", weight_map={"a": "../secret.bin"})
    with pytest.raises(InputError, match=r"names \.\./secret\.bin: only safetensors"):
        load_vlm(VLMConfig(weights=str(target)))


def test_several_weight_files_load_as_one(folder, tmp_path):
    one, several = (
        load_vlm(VLMConfig(weights=str(each))).model.state_dict()
        for each in (folder, in_shards(folder, tmp_path / "shards"))
    )
    assert one.keys() == several.keys()
    assert all(one[name].equal(several[name]) for name in one)


# --- identity by content ---


def test_the_identity_of_released_weights_is_their_file():
    manifest = source_of(PUBLISHED / "table1" / "tiny_llava" / "mini_gqa" / "entropy_gradient")
    assert weights_identities("tiny:llava") == {"weights": manifest["weights_sha256"]}


def test_a_copy_elsewhere_is_the_same_checkpoint(tmp_path):
    assert weights_identities(str(copy_of("llava", tmp_path / "elsewhere"))) == weights_identities(
        "tiny:llava"
    )


def test_several_files_count_by_the_content_of_all(folder, tmp_path):
    first = in_shards(folder, tmp_path / "first")
    again = shutil.copytree(first, tmp_path / "again")
    other = shutil.copytree(first, tmp_path / "other")
    change_weights(
        other / "model-00003-of-00003.safetensors",
        lambda tensors: next(iter(tensors.values())).add_(1),
    )
    assert len(weights_identities(str(first))["weights"]) == 64
    assert weights_identities(str(first)) == weights_identities(str(again))
    assert weights_identities(str(first))["weights"] != weights_identities(str(other))["weights"]


@pytest.mark.parametrize(
    "file",
    [
        "chat_template.jinja",
        "tokenizer.json",
        "processor_config.json",
        "config.json",
        "generation_config.json",
    ],
)
def test_the_small_files_of_a_checkpoint_count(folder, file):
    before = weights_identities(str(folder))
    path = folder / file
    path.write_text(
        path.read_text() + " "
        if file.endswith("jinja")
        else json.dumps({**json.loads(path.read_text()), "new": 1})
    )
    assert weights_identities(str(folder)) != before


def test_who_wrote_a_file_does_not_count(folder):
    before = weights_identities(str(folder))
    change_json(folder / "config.json", transformers_version="9.9.9")
    assert weights_identities(str(folder)) == before


def test_a_hub_checkpoint_is_identified_by_its_commit():
    commit = "0123456789abcdef0123456789abcdef01234567"
    found = weights_identities("someone/something", commit)
    assert found == {"weights": commit}
    assert short_identity({"weights_sha256": found["weights"]}) == "0123456789ab"


@pytest.mark.parametrize("file", ["config.json", "test_questions.jsonl"])
def test_what_the_cache_has_of_the_hub_has_the_commit_of_the_cache(tmp_path, monkeypatch, file):
    """Whatever files it has: the boxes of V* come without a README.md."""
    hub_commit.cache_clear()
    commit = "a" * 40
    repository = tmp_path / "models--someone--cached"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / file).write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert weights_identities("someone/cached") == {"weights": commit}


def test_a_hub_checkpoint_whose_commit_nobody_knows_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        UnresolvedError,
        match="commit of 'nobody/nothing' on the hub is not known here .* vlm.revision=COMMIT",
    ):
        weights_identities("nobody/nothing")


# --- under its own name ---


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            ["vlm=tiny_llava", "vlm.weights='tiny:internvl'"],
            "architecture InternVL.*, not LlavaForConditionalGeneration",
        ),
        (
            ["vlm=qwen2_5_vl_7b", "vlm.weights='tiny:qwen2_5_vl'"],
            "width 128, not 3584; layers 4, not 28",
        ),
    ],
)
def test_weights_of_another_kind_need_a_name_of_their_own(overrides, complaint):
    with pytest.raises(InputError, match=complaint + ".* vlm.name=NAME"):
        load_vlm(ground_config(overrides).vlm)


def test_other_weights_do_not_bear_the_name_of_a_tiny_vlm(tmp_path):
    other = copy_of("llava", tmp_path / "other")
    change_weights(
        other / "model.safetensors", lambda tensors: next(iter(tensors.values())).add_(1)
    )
    config = ground_config(["vlm=tiny_llava"]).vlm
    load_vlm(VLMConfig(**{**vars(config), "weights": str(copy_of("llava", tmp_path / "same"))}))
    with pytest.raises(InputError, match=r"are not those of 'tiny_llava' \(SHA-256"):
        load_vlm(VLMConfig(**{**vars(config), "weights": str(other)}))
    assert (
        load_vlm(VLMConfig(**{**vars(config), "weights": str(other), "name": "mine"})).name
        == "mine"
    )


# --- no code of a checkpoint runs ---


@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_checkpoint_is_never_run(folder, tmp_path, monkeypatch, file):
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Evil: pass\n")
    classes = {
        f"Auto{name}": "evil.Evil"
        for name in ("Config", "Processor", "ImageProcessor", "ModelForImageTextToText")
    }
    change_json(folder / file, auto_map={**classes, "AutoTokenizer": ["evil.Evil", "evil.Evil"]})
    if file == "config.json":
        change_json(folder / file, model_type="evil", architectures=["Evil"])
    monkeypatch.setattr(builtins, "input", lambda *_: "yes")
    try:
        load_vlm(VLMConfig(weights=str(folder)))
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    assert not ran.exists()


# --- one distribution ---


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 1},
        {"min_new_tokens": 6},
        {"suppress_tokens": list(range(10, 60))},
        {"bad_words_ids": [[20], [21], [22], [23]]},
        {"num_beams": 3},
        {"do_sample": True, "temperature": 5.0},
        {"forced_eos_token_id": 2, "max_length": 1000},
        {"begin_suppress_tokens": list(range(10, 60))},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_travel_with_weights_change_no_answer(tiny_vlm, scene, settings):
    image, question = scene
    prompt = tiny_vlm.prompt(question.text, [tiny_vlm.encode(image)])
    expected = tiny_vlm.generate(prompt, max_new_tokens=4)
    before = tiny_vlm.model.generation_config
    stored = {**before.to_diff_dict(), **settings}
    tiny_vlm.model.generation_config = changed = GenerationConfig(**stored)
    try:
        assert tiny_vlm.generate(prompt, max_new_tokens=4) == expected
        assert tiny_vlm.model.generation_config is changed
    finally:
        tiny_vlm.model.generation_config = before


def test_answers_end_where_the_checkpoint_says(tiny_vlm, scene):
    image, question = scene
    prompt = tiny_vlm.prompt(question.text, [tiny_vlm.encode(image)])
    assert tiny_vlm.generate(prompt, max_new_tokens=30) == tiny_vlm.generate(
        prompt, max_new_tokens=60
    )


# --- the caller's gradients ---


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_grounding_works_in_every_mode_of_the_caller(tiny_vlm, scene, mode):
    image, question = scene
    expected, map_ = (
        ground(tiny_vlm, image, question.text),
        relevance_map(tiny_vlm, image, question.text),
    )
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        found, again = (
            ground(tiny_vlm, image, question.text),
            relevance_map(tiny_vlm, image, question.text),
        )
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert found.crops == expected.crops
    assert found.answer == expected.answer
    assert np.array_equal(map_.values, again.values)


def test_a_vlm_that_was_loaded_in_inference_mode_has_gradients(scene):
    image, question = scene
    with torch.inference_mode():
        vlm = load_vlm("tiny_llava")
    assert ground(vlm, image, question.text).steps


# --- older processors ---


@pytest.mark.parametrize(
    "missing", ["patch_size", "num_additional_image_tokens", "vision_feature_select_strategy"]
)
def test_the_processor_of_an_older_checkpoint_is_completed_from_the_model(tmp_path, scene, missing):
    image, question = scene
    older = copy_of("llava", tmp_path / "older")
    values = json.loads((older / "processor_config.json").read_text())
    for name in {"patch_size", missing}:
        del values[name]
    (older / "processor_config.json").write_text(json.dumps(values))
    vlm, released = load_vlm(VLMConfig(name="older", weights=str(older))), load_vlm("tiny_llava")
    found, expected = (
        each.logits(each.prompt(question.text, [each.encode(image)])) for each in (vlm, released)
    )
    assert found.equal(expected)


def test_a_processor_that_does_not_fit_its_model_is_refused_at_loading(folder):
    change_json(folder / "processor_config.json", patch_size=16)
    with pytest.raises(
        InputError, match=r"makes \d+ placeholders of a picture and the model 64 visual tokens"
    ):
        load_vlm(VLMConfig(weights=str(folder)))


def test_an_image_token_outside_the_vocabulary_is_refused(folder):
    change_json(folder / "config.json", image_token_index=99_999, image_token_id=99_999)
    with pytest.raises(InputError, match=r"config.json gives it the number 99999"):
        load_vlm(VLMConfig(weights=str(folder)))


def test_an_image_token_that_the_tokenizer_has_and_the_model_has_not_is_refused(folder):
    """Such as a token that was added without making the embeddings longer."""
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    number = len(values["model"]["vocab"])
    added = {**values["added_tokens"][0], "id": number, "content": "<picture>"}
    change_json(path, added_tokens=[*values["added_tokens"], added])
    change_json(folder / "tokenizer_config.json", image_token="<picture>")
    change_json(folder / "processor_config.json", image_token="<picture>")
    change_json(folder / "config.json", image_token_index=number, image_token_id=number)
    with pytest.raises(InputError, match=rf"image token {number} .* is none of its"):
        load_vlm(VLMConfig(weights=str(folder)))


@pytest.mark.parametrize(
    "template",
    [
        "{% for %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ 1 / 0 }}",
        "no placeholder",
    ],
)
def test_a_chat_template_that_does_not_work_is_refused_at_loading(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(InputError):
        load_vlm(VLMConfig(weights=str(folder)))


@pytest.mark.parametrize(
    ("family", "fits"),
    [("llava", True), ("llava_next", False), ("qwen2_5_vl", False), ("internvl", False)],
)
def test_padding_is_for_llava_alone(family, fits):
    config = VLMConfig(name="x", weights=f"tiny:{family}", image_fit="pad")
    if fits:
        load_vlm(config)
    else:
        with pytest.raises(InputError, match="vlm.image_fit=pad has no meaning"):
            load_vlm(config)


# --- whatever is wrong with a folder ---


def test_a_damaged_checkpoint_loads_or_is_refused_in_one_sentence(folder, tmp_path):
    """Bytes of every file flipped, cut, and emptied; values of every JSON file retyped."""
    generator = np.random.default_rng(0)
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    outcomes = {"loads": 0, "refused": 0}
    for number in tries(40):
        target = shutil.copytree(folder, tmp_path / f"mutated_{number}")
        path = target / files[number % len(files)]
        if path.suffix == ".json" and generator.random() < 0.6:
            values = json.loads(path.read_text())
            key = sorted(values)[int(generator.integers(len(values)))]
            path.write_text(json.dumps({**values, key: retyped(values[key], generator)}))
        else:
            path.write_bytes(damaged(path.read_bytes(), generator))
        try:
            load_vlm(VLMConfig(name="x", weights=str(target)))
            outcomes["loads"] += 1
        except InputError as error:
            assert len(str(error).splitlines()) == 1, str(error)
            outcomes["refused"] += 1
        shutil.rmtree(target)
    print(f"damaged checkpoints: {outcomes}")
    assert outcomes["refused"]
