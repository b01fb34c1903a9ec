"""Stored rows: complete part files only, one row an example, one configuration a folder."""

import hashlib
import json
import multiprocessing
import resource
import shutil
import signal
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.identity import data_identities
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import (
    is_complete,
    load_rows,
    publish,
    stored_evaluations,
    stored_index,
    write_results,
)
from entropy_grounding.evaluation.config import check_name, parse_shard
from entropy_grounding.evaluation.coverage import Coverage, coverage, missing_text
from entropy_grounding.evaluation.merge import merge
from entropy_grounding.evaluation.provenance import config_hash
from entropy_grounding.evaluation.rows import SCHEMA, Row
from entropy_grounding.evaluation.store import RowStore
from support.fuzz import tries

ROOT = Path(__file__).resolve().parents[3]
CONFIG = {
    "vlm": {"name": "a", "weights": "w", "dtype": "auto", "device": "cpu"},
    "benchmark": {
        "name": "b",
        "kind": "vstar",
        "path": "p",
        "examples": 3,
        "protocol": {"option_order": "as_released"},
    },
    "method": {"target": "entropy"},
}


ENVIRONMENT = {"torch": "2.13.0+cpu", "device": "cpu", "image_processor": "LlavaImageProcessorPil"}


def source(**method):
    config = {**CONFIG, "method": {**CONFIG["method"], **method}}
    return {"config_hash": config_hash(config), "config": config}


def row(number, **values):
    return replace(
        Row(number, f"id{number}", source()["config_hash"], "a", "b", "m", "{}"), **values
    )


def write(folder, rows, shard="1/1", flush_every=2):
    store = RowStore(folder, source(), shard)
    with store.locked():
        store.begin(ENVIRONMENT)
        for each in rows:
            store.add(each, flush_every=flush_every)
    return store


def test_what_is_written_is_read_back(tmp_path):
    full = row(
        0,
        references=("a", "b"),
        evidence=((1.0, 2.0, 3.0, 4.0),),
        entropies=(0.5, 0.25),
        spatial_entropies=(float("inf"),),
        score=0.3,
    )
    stored = write(tmp_path, [full, row(1, status="failed", reason="why")]).stored()
    assert list(stored.columns) == SCHEMA.names
    first = stored.iloc[0]
    assert (list(first["references"]), [list(box) for box in first["evidence"]]) == (
        ["a", "b"],
        [[1.0, 2.0, 3.0, 4.0]],
    )
    assert (list(first["entropies"]), first["spatial_entropies"][0], first["score"]) == (
        [0.5, 0.25],
        float("inf"),
        0.3,
    )
    assert stored.iloc[1]["reason"] == "why"
    assert pd.isna(stored.iloc[1]["score"])


def test_columns_that_older_rows_lack_are_read_as_empty(tmp_path):
    write(tmp_path, [row(0, score=0.3)])
    merge(tmp_path)
    rows, manifest = load_rows(tmp_path)
    write_results(tmp_path, rows.drop(columns="lm_tokens"), manifest)
    rows, _ = load_rows(tmp_path)
    assert rows["lm_tokens"].isna().all()
    assert (set(rows.columns), rows["score"].item()) == (set(SCHEMA.names), 0.3)


def test_rows_come_in_the_order_of_the_data_whatever_the_shards(tmp_path):
    write(tmp_path, [row(1), row(3)], "2/2")
    write(tmp_path, [row(4), row(0), row(2)], "1/2")
    path, count = merge(tmp_path)
    assert count == 5
    assert list(pd.read_parquet(path)["number"]) == [0, 1, 2, 3, 4]
    rows, manifest = load_rows(tmp_path)
    assert (len(rows), manifest["config_hash"]) == (5, source()["config_hash"])


def test_a_row_that_is_ok_replaces_one_that_failed_and_not_the_other_way_round(tmp_path):
    write(tmp_path, [row(0, status="failed"), row(1)])
    write(tmp_path, [row(0, answer="yes"), row(1, status="failed")])
    assert list(RowStore(tmp_path, source(), "1/1").stored()["status"]) == ["ok", "ok"]


def test_joining_twice_changes_nothing(tmp_path):
    write(tmp_path, [row(n) for n in range(5)])
    first = merge(tmp_path)[0].read_bytes()
    assert merge(tmp_path)[0].read_bytes() == first


def test_an_error_between_rows_keeps_those_before(tmp_path):
    store = RowStore(tmp_path, source(), "1/1")
    with pytest.raises(KeyboardInterrupt), store.locked():
        store.add(row(0), flush_every=100)
        raise KeyboardInterrupt
    assert list(store.stored()["example_id"]) == ["id0"]


def test_partial_files_are_never_read(tmp_path):
    store = write(tmp_path, [row(0)])
    (store.parts / ".half.parquet.123.partial").write_bytes(b"PAR1")
    assert len(store.stored()) == 1


def test_a_manifest_that_another_shard_is_writing_is_not_removed(tmp_path):
    store = RowStore(tmp_path, source(), "2/2")
    partial = tmp_path / ".manifest.json.123.partial"

    def work():
        with store.locked():
            pass

    with FileLock(tmp_path / ".manifest.lock"):
        partial.write_text("{}")
        other = threading.Thread(target=work)
        other.start()
        other.join(0.3)
        assert partial.exists()
    other.join()
    assert not partial.exists()


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    write(tmp_path, [row(0)])
    with pytest.raises(
        InputError, match=r"another configuration .* method\.target is 'margin', there 'entropy'"
    ):
        RowStore(tmp_path, source(target="margin"), "1/1")
    assert len(RowStore(tmp_path, source(), "1/1").stored()) == 1


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-20], lambda content: b"", lambda content: b"x" + content]
)
def test_a_damaged_part_is_left_out_and_its_examples_are_done_again(tmp_path, damage):
    store = write(tmp_path, [row(0), row(1), row(2)])
    first = min(store.parts.glob("shard*.parquet"))
    first.write_bytes(damage(first.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged and left out"):
        assert list(store.stored()["example_id"]) == ["id2"]
    again = RowStore(tmp_path, source(), "1/1")
    with pytest.warns(UserWarning, match="examples are done again"), again.locked():
        assert again.stored_ids() == {"id2"}


def flipped(content, generator):
    data = bytearray(content)
    data[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
    return bytes(data)


def test_a_flipped_bit_is_never_read_as_another_row(tmp_path):
    """In part files and in joined rows; what is read is what was written, or nothing."""
    rows = [row(n, answer=f"answer {n}", score=n / 7) for n in range(6)]
    store = write(tmp_path / "parts", rows, flush_every=6)
    write(tmp_path / "joined", rows)
    joined, _ = merge(tmp_path / "joined")
    (part,) = store.parts.glob("shard*.parquet")
    contents = {part: part.read_bytes(), joined: joined.read_bytes()}
    generator = np.random.default_rng(0)
    for number in tries(100):
        path = (part, joined)[number % 2]
        path.write_bytes(flipped(contents[path], generator))
        if path == part:
            with warnings.catch_warnings(record=True):
                assert store.stored().empty
        else:
            with pytest.raises(InputError, match="is damaged: its SHA-256"):
                load_rows(joined.parent)
        path.write_bytes(contents[path])


PACKS = sorted((ROOT / "results" / "rows").glob("*/*.parquet"))


@pytest.mark.parametrize("pack", PACKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_published_rows_carry_their_digest(pack):
    about = json.loads(pack.with_suffix(".json").read_text())
    assert about["rows_sha256"] == hashlib.sha256(pack.read_bytes()).hexdigest()


def test_every_published_evaluation_is_complete_and_found_by_its_hash():
    index = stored_index(ROOT / "results" / "rows")
    assert len(index) > 1000
    for path in (index[name] for name in sorted(index)[::100]):
        rows, manifest = load_rows(path)
        assert set(rows["config_hash"]) == {manifest["config_hash"]}
        assert list(rows["number"]) == sorted(rows["number"])
        assert is_complete(path, manifest["config"]["benchmark"]["examples"])


@pytest.fixture
def experiment(tmp_path):
    """Two joined evaluations of one experiment in a working store."""
    for method in ("m", "n"):
        folder = tmp_path / "outputs" / "results" / "mine" / "a" / "b" / method
        store = RowStore(folder, {**source(), "method_name": method}, "1/1")
        with store.locked():
            store.begin(ENVIRONMENT)
            for number in range(3):
                store.add(row(number, method=method, answer=f"{method}{number}"), flush_every=2)
        store.finish(examples=3, rows=3)
        merge(folder)
    return tmp_path / "outputs" / "results" / "mine"


def test_a_pack_holds_the_rows_and_manifests_of_finished_evaluations(experiment, tmp_path):
    before = {path.name: load_rows(path) for path in stored_evaluations(experiment)}
    packed = publish(experiment, "mine", tmp_path / "results")

    assert stored_evaluations(tmp_path / "results" / "rows" / "mine") == packed
    assert sorted(path.name for path in (tmp_path / "results" / "rows" / "mine").iterdir()) == [
        "a.json",
        "a.parquet",
    ]
    for path in packed:
        rows, manifest = load_rows(path)
        stored_as, stored_from = before[path.name]
        pd.testing.assert_frame_equal(rows, stored_as, check_dtype=False)
        assert manifest == {k: v for k, v in stored_from.items() if k != "rows_sha256"}


def test_publishing_again_replaces_one_evaluation_and_keeps_the_others(experiment, tmp_path):
    first, second = publish(experiment, "mine", tmp_path / "results")
    folder = experiment / "a" / "b" / "n"
    store = RowStore(folder, source(), "1/1")
    with store.locked():
        store.add(row(0, method="n", answer="new"), flush_every=2)
    merge(folder)

    assert publish(folder, "mine", tmp_path / "results") == [second]
    assert list(load_rows(second)[0]["answer"]) == ["new", "n1", "n2"]
    assert list(load_rows(first)[0]["answer"]) == ["m0", "m1", "m2"]


def test_an_unexperiment_evaluation_is_not_published(tmp_path):
    write(tmp_path / "a" / "b" / "m", [row(0)])
    merge(tmp_path / "a" / "b" / "m")
    with pytest.raises(InputError, match="is not complete"):
        publish(tmp_path, "mine", tmp_path / "results")
    with pytest.raises(InputError, match="holds no joined rows"):
        publish(tmp_path / "results", "mine", tmp_path / "results")


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_damaged_pack_is_refused(experiment, tmp_path, at):
    path = publish(experiment, "mine", tmp_path / "results")[0]
    pack = tmp_path / "results" / "rows" / "mine" / "a.parquet"
    content = bytearray(pack.read_bytes())
    content[int(at * len(content))] ^= 1
    pack.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        load_rows(path)


def test_a_kill_between_rows_and_manifest_leaves_both_readable(tmp_path):
    """The manifest knows the digest of the old and of the new rows while they are replaced."""
    write(tmp_path, [row(0)])
    merge(tmp_path)
    before = (tmp_path / "rows.parquet").read_bytes()
    write(tmp_path, [row(1)])
    merge(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    between = {
        **manifest,
        "rows_sha256": [hashlib.sha256(before).hexdigest(), manifest["rows_sha256"]],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(between))
    assert len(load_rows(tmp_path)[0]) == 2
    (tmp_path / "rows.parquet").write_bytes(before)
    assert len(load_rows(tmp_path)[0]) == 1


def test_the_hash_of_the_rows_decides_whose_they_are(tmp_path):
    """Also where the manifest is gone."""
    write(tmp_path, [row(0)])
    (tmp_path / "manifest.json").unlink()
    other = RowStore(tmp_path, source(target="margin"), "1/1")
    with (
        pytest.raises(
            InputError, match=f"rows of another configuration \\({source()['config_hash']}"
        ),
        other.locked(),
    ):
        other.stored_ids()


@pytest.mark.parametrize(
    "content",
    ["[]", '"text"', '{"config": "text"}', '{"config": {"vlm": 3}}', "3", "null", "", "{"],
)
def test_a_file_that_is_no_manifest_is_named(tmp_path, content):
    write(tmp_path, [row(0)])
    merge(tmp_path)
    (tmp_path / "manifest.json").write_text(content)
    for read in (
        load_rows,
        merge,
        lambda folder: RowStore(folder, source(), "1/1"),
        lambda folder: coverage(folder, 1),
    ):
        with pytest.raises(InputError, match=r"manifest\.json'"):
            read(tmp_path)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"x": [1]}),
        pa.table({"number": ["a"], "example_id": ["b"], "status": ["ok"]}),
        pa.table({"number": [1], "example_id": [[1]], "status": ["ok"]}),
        pa.table({"number": [1], "example_id": ["a"], "status": ["ok"], "score": ["text"]}),
    ],
)
def test_a_foreign_file_among_the_parts_is_named(tmp_path, table):
    store = write(tmp_path, [row(0)])
    pq.write_table(table, store.parts / "foreign.parquet")
    with pytest.raises(InputError, match=r"foreign\.parquet' is broken"):
        store.stored()


def test_what_a_killed_run_left_is_removed_at_the_next_start_of_its_shard(tmp_path):
    store = write(tmp_path, [row(0)])
    own, other = (store.parts / f".shard_00{n}_of_002_x.parquet.abc.partial" for n in (1, 2))
    for path in (own, other, tmp_path / ".manifest.json.abc.partial"):
        path.write_bytes(b"half")
    with RowStore(tmp_path, source(), "1/2").locked():
        pass
    assert [path.name for path in tmp_path.rglob("*.partial")] == [other.name]
    assert not list(tmp_path.rglob("*.lock"))


def test_rows_of_another_environment_are_not_mixed_in(tmp_path):
    write(tmp_path, [row(0)])
    store = RowStore(tmp_path, source(), "1/1")
    with store.locked():
        store.begin({**ENVIRONMENT, "torch": "2.13.0+cu126"})
        with pytest.raises(
            InputError, match=r"device was cpu, here cuda.*choose another results_dir"
        ):
            store.begin({**ENVIRONMENT, "device": "cuda"})
    assert json.loads((tmp_path / "manifest.json").read_text())["environment"] == ENVIRONMENT


def test_parts_grow_instead_of_becoming_many(tmp_path):
    write(tmp_path, [row(n) for n in range(300)], flush_every=1)
    files = list((tmp_path / "parts").glob("*.parquet"))
    assert len(files) == 300 // 256 + 44 // 16 + 44 % 16
    assert list(RowStore(tmp_path, source(), "1/1").stored()["number"]) == list(range(300))


def test_rows_that_a_kill_left_in_two_parts_count_once(tmp_path):
    store = write(tmp_path, [row(n) for n in range(3)], flush_every=1)
    store._write(
        pa.concat_tables([pq.read_table(path) for path in store.parts.glob("*.parquet")]), level=1
    )
    assert list(store.stored()["number"]) == [0, 1, 2]


# --- completeness ---


def finished(folder, numbers, shard="1/1", examples=None, rows=10):
    store = write(folder, [row(n) for n in numbers], shard)
    store.finish(examples=examples, rows=rows)
    return store


def test_rows_are_complete_only_when_someone_has_read_the_data_to_its_end(tmp_path):
    write(tmp_path, [row(n) for n in range(3)])
    assert (coverage(tmp_path, None).total, coverage(tmp_path, None).complete) == (None, False)
    finished(tmp_path, [], rows=3)
    assert coverage(tmp_path, None) == Coverage(rows=3, total=3, missing=0, size=3)


@pytest.mark.parametrize(
    ("numbers", "examples", "complete"),
    [
        (range(3), 3, True),
        (range(3), 10, False),
        ((1, 3, 5, 7, 9), 5, False),
        (range(0, 20, 2), 10, False),
        (range(20), 10, True),
    ],
)
def test_completeness_compares_numbers_and_not_counts(tmp_path, numbers, examples, complete):
    write(tmp_path, [row(n) for n in numbers])
    assert coverage(tmp_path, examples).complete == complete


def test_a_shard_does_not_stand_for_all(tmp_path):
    finished(tmp_path, range(0, 20, 4), "1/4", rows=20)
    finished(tmp_path, range(1, 20, 4), "2/4", rows=20)
    assert coverage(tmp_path, None) == Coverage(rows=10, total=20, missing=10, size=20)
    assert coverage(tmp_path, 10).missing == 4
    path, _ = merge(tmp_path)
    assert missing_text(tmp_path).endswith("(shard 3/4, 4/4)")
    assert not is_complete(tmp_path, None)
    finished(tmp_path, range(2, 20, 4), "3/4", rows=20)
    finished(tmp_path, range(3, 20, 4), "4/4", rows=20)
    merge(path.parent)
    assert is_complete(tmp_path, None)


def test_a_split_with_fewer_rows_than_asked_for_is_complete(tmp_path):
    finished(tmp_path, range(7), examples=300, rows=7)
    assert coverage(tmp_path, 300) == Coverage(rows=7, total=7, missing=0, size=7)
    assert coverage(tmp_path, None).complete


def test_what_was_complete_stays_so_without_its_parts(tmp_path):
    finished(tmp_path, range(3), rows=3)
    merge(tmp_path)
    shutil.rmtree(tmp_path / "parts")
    assert coverage(tmp_path, None).complete


@pytest.mark.parametrize(
    "name", ["../../y", "a/b", "", ".hidden", "a b", "x" * 101, "a\0b", "..", "~"]
)
def test_a_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(InputError, match="method_name is"):
        check_name("method_name", name)


def test_a_broken_manifest_is_named(tmp_path):
    write(tmp_path, [row(0)])
    (tmp_path / "manifest.json").write_text('{"config_hash": ')
    with pytest.raises(InputError, match="The manifest .* cannot be read"):
        RowStore(tmp_path, source(), "1/1")


def test_the_same_shard_is_not_written_twice_at_a_time(tmp_path):
    first = RowStore(tmp_path, source(), "1/2")
    second = RowStore(tmp_path, source(), "1/2")
    with (
        first.locked(),
        pytest.raises(InputError, match="Another process is writing shard_001_of_002"),
        second.locked(),
    ):
        pass
    with second.locked():
        pass


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="Could not write to the results folder .*taken"):
        RowStore(tmp_path / "taken" / "x", source(), "1/1")


def fill_the_disk(folder, said):
    """Store one row, and say what happens to a second one that the disk does not take."""
    store = RowStore(folder, source(), "1/1")
    with store.locked():
        store.begin(ENVIRONMENT)
        store.add(row(0), flush_every=1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        try:
            store.add(row(1), flush_every=1)
        except InputError as error:
            said.send(str(error))
            store.waiting.clear()


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit of file sizes")
def test_a_disk_that_takes_no_more_keeps_what_is_stored(tmp_path):
    """The operating system itself refuses, by a limit of 100 bytes a file in another process."""
    forking = multiprocessing.get_context("fork")
    hears, says = forking.Pipe()
    process = forking.Process(target=fill_the_disk, args=(tmp_path, says))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    said = hears.recv()
    assert "Could not write to the results folder" in said
    assert "complete part files are kept" in said
    assert list(RowStore(tmp_path, source(), "1/1").stored()["example_id"]) == ["id0"]
    assert not list((tmp_path / "parts").glob(".*.partial"))


def test_a_folder_without_rows_cannot_be_joined(tmp_path):
    with pytest.raises(InputError, match="holds no rows"):
        merge(tmp_path)


def test_joining_needs_one_configuration(tmp_path):
    write(tmp_path, [row(0), replace(row(1), config_hash="other")])
    with pytest.raises(InputError, match="mixes configurations"):
        merge(tmp_path)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_impossible_shards_are_refused(text):
    with pytest.raises(InputError, match=f"shard is '{text}'"):
        parse_shard(text)


@pytest.mark.parametrize(
    ("section", "name", "value", "same"),
    [
        ("vlm", "device", "cuda", True),
        ("benchmark", "examples", 9, True),
        ("benchmark", "path", "elsewhere", True),
        ("vlm", "dtype", "bfloat16", False),
        ("benchmark", "protocol", {"option_order": "shuffled"}, False),
        ("method", "target", "margin", False),
    ],
)
def test_the_hash_covers_what_may_change_a_result(section, name, value, same):
    changed = {**CONFIG, section: {**CONFIG[section], name: value}}
    assert (config_hash(changed) == config_hash(CONFIG)) == same


def test_the_hash_covers_the_weights():
    assert config_hash(CONFIG, weights="a") != config_hash(CONFIG, weights="b")


def test_an_option_at_its_default_does_not_count():
    later = {**CONFIG, "method": {**CONFIG["method"], "new": "off"}}
    assert config_hash(CONFIG, {}) == config_hash(later, {"method": {"new": "off"}})
    assert config_hash(later, {"method": {"new": "on"}}) != config_hash(
        CONFIG, {"method": {"new": "on"}}
    )


def test_local_data_count_by_their_content_wherever_they_are(tmp_path):
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.parquet").write_bytes(content)
    first, moved, other = (
        data_identities(BenchmarkConfig(path=str(tmp_path / folder))) for folder in "abc"
    )
    assert first == moved != other
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert data_identities(BenchmarkConfig(path="someone/something", revision=commit)) == {
        "data": commit
    }


def test_the_manifest_is_written_once(tmp_path):
    write(tmp_path, [row(0)])
    before = (tmp_path / "manifest.json").read_text()
    RowStore(tmp_path, {**source(), "date": "later"}, "1/1").begin(ENVIRONMENT)
    assert (tmp_path / "manifest.json").read_text() == before
    assert json.loads(before)["config"] == CONFIG
