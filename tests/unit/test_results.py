"""Stored rows: complete part files only, one row an example, one configuration a folder."""

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from entropy_grounding.benchmarks import BenchmarkConfig
from entropy_grounding.benchmarks.identity import data_identities
from entropy_grounding.errors import InputError
from entropy_grounding.results import SCHEMA, RowStore, config_hash, load_rows, merge, parse_shard
from entropy_grounding.structures import Row

CONFIG = {
    "vlm": {"name": "a", "weights": "w", "dtype": "auto", "device": "cpu"},
    "benchmark": {"name": "b", "kind": "vstar", "path": "p", "examples": 3, "protocol": {"option_order": "as_released"}},
    "method": {"target": "entropy"},
}


def source(**method):
    config = {**CONFIG, "method": {**CONFIG["method"], **method}}
    return {"config_hash": config_hash(config), "config": config}


def row(number, **values):
    return replace(Row(number, f"id{number}", source()["config_hash"], "a", "b", "m", "{}"), **values)


def write(folder, rows, shard="1/1", flush_every=2):
    store = RowStore(folder, source(), shard)
    with store.locked():
        for each in rows:
            store.add(each, flush_every=flush_every)
    return store


def test_what_is_written_is_read_back(tmp_path):
    full = row(
        0, references=("a", "b"), evidence=((1.0, 2.0, 3.0, 4.0),), entropies=(0.5, 0.25), spatial_entropies=(float("inf"),), score=0.3
    )
    stored = write(tmp_path, [full, row(1, status="failed", reason="why")]).stored()
    assert list(stored.columns) == SCHEMA.names
    first = stored.iloc[0]
    assert (list(first["references"]), [list(box) for box in first["evidence"]]) == (["a", "b"], [[1.0, 2.0, 3.0, 4.0]])
    assert (list(first["entropies"]), first["spatial_entropies"][0], first["score"]) == ([0.5, 0.25], float("inf"), 0.3)
    assert stored.iloc[1]["reason"] == "why"
    assert pd.isna(stored.iloc[1]["score"])


def test_columns_that_older_rows_lack_are_read_as_empty(tmp_path):
    write(tmp_path, [row(0, score=0.3)])
    path, _ = merge(tmp_path)
    pd.read_parquet(path).drop(columns="lm_tokens").to_parquet(path)
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


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    write(tmp_path, [row(0)])
    with pytest.raises(InputError, match=r"another configuration .* method\.target is 'margin', there 'entropy'"):
        RowStore(tmp_path, source(target="margin"), "1/1")
    assert len(RowStore(tmp_path, source(), "1/1").stored()) == 1


def test_a_truncated_part_is_named(tmp_path):
    store = write(tmp_path, [row(0), row(1)])
    (part,) = store.parts.glob("shard*.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(InputError, match=rf"The rows file '{part}' is broken .*delete it and run again"):
        store.stored()


def test_a_broken_manifest_is_named(tmp_path):
    write(tmp_path, [row(0)])
    (tmp_path / "manifest.json").write_text('{"config_hash": ')
    with pytest.raises(InputError, match="The manifest .* cannot be read"):
        RowStore(tmp_path, source(), "1/1")


def test_the_same_shard_is_not_written_twice_at_a_time(tmp_path):
    first = RowStore(tmp_path, source(), "1/2")
    second = RowStore(tmp_path, source(), "1/2")
    with first.locked(), pytest.raises(InputError, match="Another process is writing shard_001_of_002"), second.locked():
        pass
    with second.locked():
        pass


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="Could not write to the results folder .*taken"):
        RowStore(tmp_path / "taken" / "x", source(), "1/1")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_results as t
store = t.RowStore(Path({folder!r}), t.source(), "1/1")
with store.locked():
    store.add(t.row(0), flush_every=1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        store.add(t.row(1), flush_every=1)
    except t.InputError as error:
        print(error)
        store.waiting.clear()
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit of file sizes")
def test_a_disk_that_takes_no_more_keeps_what_is_stored(tmp_path):
    """The operating system's own refusal, by a limit of 100 bytes a file in a process of its own."""
    code = FULL_DISK.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Could not write to the results folder" in done.stdout
    assert "complete part files are kept" in done.stdout
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
    assert config_hash(later, {"method": {"new": "on"}}) != config_hash(CONFIG, {"method": {"new": "on"}})


def test_local_data_count_by_their_content_wherever_they_are(tmp_path):
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.parquet").write_bytes(content)
    first, moved, other = (data_identities(BenchmarkConfig(path=str(tmp_path / folder))) for folder in "abc")
    assert first == moved != other
    assert data_identities(BenchmarkConfig(path="lmms-lab/textvqa")) == {"data": "lmms-lab/textvqa"}


def test_the_manifest_is_written_once(tmp_path):
    write(tmp_path, [row(0)])
    before = (tmp_path / "manifest.json").read_text()
    RowStore(tmp_path, {**source(), "date": "later"}, "1/1")
    assert (tmp_path / "manifest.json").read_text() == before
    assert json.loads(before)["config"] == CONFIG
