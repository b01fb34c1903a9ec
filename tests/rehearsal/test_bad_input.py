"""What a hub serves wrong: one sentence, exit status 2, and the next try goes on where it stopped.

The commands are the real ones. A checkpoint or data set is spoiled in the hub, after an evaluation
of the good one has stored its rows.
"""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from child import served
from small_files import released_files
from twins import INDEX, LLAVA_NEXT, QWEN, TWINS, write_small_files, write_twin

from support.hub import Fault

LLAVA = TWINS["llava_1_5_7b"]
DATA = "lmms-lab-encoder/RealWorldQA"
SHARD = "model-00002-of-00003.safetensors"


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    """A hub with a checkpoint and the data sets, and a process that has an empty cache."""
    folder = tmp_path_factory.mktemp("bad")
    models = {LLAVA.hub_id: write_twin(LLAVA, folder / "twin")}
    with served(models, folder) as child:
        yield child


def sentence(answer):
    """Return the last line of a command that ended with status 2."""
    status, printed = answer
    assert status == 2, printed
    assert "Traceback" not in printed
    return printed.strip().splitlines()[-1]


# Kind of fault, what the sentence says of it.
REFUSED = {
    "unauthorized": "log in with 'hf auth login'",
    "gated": "It is gated: accept its terms",
    "no_revision": "It has no such revision",
    "too_many": "too many requests from here: wait",
    "broken": "run the same command later",
    "hung_up": "the same command again",
    "cut": "the same command again",
    "wrong_size": "the same command again",
}
# While a file is on its way; the hub's client tries for 20 seconds against the other two there.
DURING = ("hung_up", "cut", "wrong_size", "gated", "unauthorized")


@pytest.mark.parametrize("kind", REFUSED)
def test_a_checkpoint_that_cannot_be_fetched(kind, fresh):
    """Refused while a file is on its way where that can be, otherwise at once."""
    where = SHARD if kind in DURING else ""
    fresh.hub.faults[:] = [Fault(kind, where, revision="v9")]
    said = sentence(fresh.ask("eg", "fetch", "vlm=llava_1_5_7b"))
    assert said.startswith("error: ") and LLAVA.hub_id in said and REFUSED[kind] in said

    # What has come before is not fetched again.
    fresh.hub.faults.clear()
    seen = len(fresh.hub.requests)
    before = fetched(fresh)
    status, printed = fresh.ask("eg", "fetch", "vlm=llava_1_5_7b")
    assert status == 0, printed
    again = [line for line in fresh.hub.requests[seen:] if line.startswith("GET")]
    assert not [line for line in again for name in before if f"/{name} " in line]
    assert (SHARD in before, SHARD in fetched(fresh)) == (False, True)


def fetched(child):
    """Return the names of the files of the checkpoint that the cache has as a whole."""
    places = (child.home / "hub").glob("models--*/snapshots/*/*")
    return {path.name for path in places if path.name != "config.json"}


@pytest.mark.rehearsal
@pytest.mark.parametrize("kind", REFUSED)
def test_a_data_set_that_cannot_be_fetched(kind, fresh):
    where = "parquet" if kind in DURING else ""
    fresh.hub.faults[:] = [Fault(kind, where, revision="v9")]
    said = sentence(fresh.ask("eg", "fetch", "benchmark=realworldqa"))
    assert DATA in said and REFUSED[kind] in said

    fresh.hub.faults.clear()
    status, printed = fresh.ask("eg", "fetch", "benchmark=realworldqa")
    assert status == 0, printed


def test_a_revision_that_does_not_exist(fresh, tmp_path):
    """The hub knows one revision of each; nothing is stored under the other name."""
    fresh.hub.faults[:] = [Fault("no_revision", "/v9")]
    for option, source in {"vlm": LLAVA.hub_id, "benchmark": DATA}.items():
        said = sentence(evaluation(fresh, tmp_path, f"{option}.revision=v9"))
        assert source in said and "It has no such revision" in said
    assert not list(tmp_path.rglob("*.parquet"))


def evaluation(child, results, *more):
    """Evaluate one question."""
    options = ["benchmark.examples=1", "benchmark.protocol.max_new_tokens=2", "tracking=disabled"]
    vlm = ["vlm=llava_1_5_7b", "vlm.name=twin", "vlm.dtype=float32"]
    names = [*vlm, "benchmark=realworldqa", "method=base", f"results_dir={results}"]
    return child.ask("eg", "evaluate", *names, *options, *more)


# --- Checkpoints and data sets that are wrong on the hub ---


def _other_processor(twin, data):
    write_small_files(QWEN, other := twin.parent / "other")
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(other / name, twin / name)
    (twin / "processor_config.json").unlink()


def _other_images(twin, data):
    write_small_files(LLAVA_NEXT, other := twin.parent / "other")
    for name in ("preprocessor_config.json", "processor_config.json"):
        shutil.copy(other / name, twin / name)


def _no_image_token(twin, data):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = twin / name
        path.write_text(path.read_text().replace('"<image>"', '"<picture>"'))


def _half_a_shard(twin, data):
    whole = (twin / SHARD).read_bytes()
    (twin / SHARD).write_bytes(whole[: len(whole) // 2])


def _no_shard(twin, data):
    (twin / SHARD).unlink()


def _renamed_column(twin, data):
    file = next(data.rglob("*.parquet"))
    table = pq.read_table(file)
    names = ["prompt" if name == "question" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), file)


def _other_type(twin, data):
    file = next(data.rglob("*.parquet"))
    table = pq.read_table(file)
    place = table.column_names.index("image")
    pq.write_table(table.set_column(place, "image", table["question"]), file)


# How it is spoiled, and what the sentence says.
WRONG = {
    "a processor of another family": (_other_processor, ["processor"]),
    "an image processor of another family": (_other_images, ["processor"]),
    "a tokenizer without the image token": (_no_image_token, ["token"]),
    "half a shard": (_half_a_shard, [SHARD]),
    "a shard that is not there": (_no_shard, [SHARD]),
    "a column of another name": (_renamed_column, [DATA, "question"]),
    "a column of another type": (_other_type, ["image"]),
}


@pytest.mark.rehearsal
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_on_the_hub_is_named_and_the_rows_before_are_kept(name, fresh, tmp_path):
    spoil, words = WRONG[name]
    hub, good = fresh.hub, (fresh.hub.models[LLAVA.hub_id], fresh.hub.datasets[DATA])
    status, printed = evaluation(fresh, tmp_path / "results")
    assert status == 0, printed
    rows = stored(tmp_path)

    bad = tmp_path / "twin", tmp_path / "data"
    for source, target in zip(good, bad, strict=True):
        shutil.copytree(source, target)
    spoil(*bad)
    hub.models[LLAVA.hub_id], hub.datasets[DATA] = bad
    try:
        sentence(evaluation(fresh, tmp_path / "results"))
        said = sentence(evaluation(fresh, tmp_path / "new"))
    finally:
        hub.models[LLAVA.hub_id], hub.datasets[DATA] = good

    assert all(word in said for word in words), said
    assert stored(tmp_path) == rows

    # The good one again: nothing is computed twice.
    status, printed = evaluation(fresh, tmp_path / "results")
    assert status == 0, printed
    assert stored(tmp_path) == rows


def stored(folder):
    """Return the content of all files of rows."""
    files = (folder / "results").rglob("*.parquet")
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_half_a_file_in_the_cache_is_named_with_what_to_delete(fresh, tmp_path):
    """As after a copy of the cache that was cut off; the same command then goes on."""
    assert fresh.ask("eg", "fetch", "vlm=llava_1_5_7b")[0] == 0
    blob = next((fresh.home / "hub").glob(f"models--*/snapshots/*/{SHARD}")).resolve()
    blob.write_bytes(blob.read_bytes()[:5000])

    said = sentence(evaluation(fresh, tmp_path / "results"))
    assert SHARD in said and f"delete '{blob}', and the same command fetches it again" in said
    assert sentence(fresh.ask("eg", "fetch", "vlm=llava_1_5_7b")) == said

    blob.unlink()
    status, printed = evaluation(fresh, tmp_path / "results")
    assert status == 0, printed


def test_the_small_files_of_a_release_come_from_the_hub(child, tmp_path):
    """What `make rehearsal` does where the hub can be reached; without one it says so."""
    names = {"config.json", "tokenizer.json", "chat_template.jinja", INDEX}
    found = released_files(tmp_path / "files", [LLAVA], endpoint=child.hub.url)
    files = {path.name for path in (found / LLAVA.folder).iterdir() if path.is_file()}
    assert names <= files and not [name for name in files if name.endswith(".safetensors")]

    twin = write_twin(LLAVA, tmp_path / "twin", found)
    one, other = (path / "tokenizer.json" for path in (twin, child.hub.models[LLAVA.hub_id]))
    assert one.read_bytes() == other.read_bytes()
    assert released_files(tmp_path / "none", [QWEN], endpoint=child.hub.url) is None


def test_the_cut_off_shard_of_the_index_is_in_the_twin(child):
    """The names that these tests spoil are those of the twin."""
    twin = child.hub.models[LLAVA.hub_id]
    assert SHARD in json.loads((twin / INDEX).read_text())["weight_map"].values()
