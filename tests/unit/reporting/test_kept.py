"""Summaries on disk: the same bytes as computed ones, and never those of other rows."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from entropy_grounding.evaluation.archive import write_results, write_summary
from entropy_grounding.reporting import kept as module
from entropy_grounding.reporting import summary
from entropy_grounding.reporting.comparisons import location_shares
from entropy_grounding.reporting.kept import PLACE, kept
from entropy_grounding.reporting.summary import cells

N = 40
METHODS = ("entropy_gradient", "control_random", "control_oracle_budget")
LINES = len(METHODS) + 1  # of the table: plain, too


def write_rows_of(folder, method, seed):
    scores = np.random.default_rng(seed).random((2, N)).round(1)
    rows = pd.DataFrame({"example_id": [str(n) for n in range(N)], "number": range(N)})
    rows = rows.assign(status="ok", score=scores[0], plain_score=scores[1])
    measures = ("iou", "best_iou", "pointing", "energy", "chance", "visual_tokens", "seconds")
    rows = rows.assign(**dict.fromkeys((*measures, "forwards", "backwards"), 1 / 3))
    config = {"vlm": {"name": "tiny_llava"}, "benchmark": {"name": "mini_vstar"}}
    source = {"config": config, "weights_sha256": "abcdef0123456789", "commit": "1234567"}
    write_results(folder / "tiny_llava" / "mini_vstar" / method, rows, source)


@pytest.fixture
def root(tmp_path):
    for seed, method in enumerate(METHODS):
        write_rows_of(tmp_path / "rows", method, seed)
    return tmp_path / "rows"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for summaries, in a process that knows none."""
    monkeypatch.setenv(PLACE, str(tmp_path / "kept"))
    monkeypatch.setattr(module, "_known", {})
    return tmp_path / "kept"


@pytest.fixture
def computed(monkeypatch):
    """The folders of the rows that are summarised, as it happens."""
    found, summarise = [], summary._summarised

    def counted(folder, *others):
        found.append(folder.name)
        return summarise(folder, *others)

    monkeypatch.setattr(summary, "_summarised", counted)
    return found


def next_process(monkeypatch):
    monkeypatch.setattr(module, "_known", {})


def tables(root, folder):
    write_summary(folder / "cells.json", cells(root))
    write_summary(folder / "shares.json", location_shares(root))
    return [(folder / name).read_bytes() for name in ("cells.json", "shares.json")]


def test_tables_have_the_same_bytes_with_and_without(root, place, computed, tmp_path, monkeypatch):
    first = tables(root, tmp_path / "first")
    assert len(computed) == LINES
    assert len(list(place.iterdir())) == LINES + 1  # and one share of location

    next_process(monkeypatch)
    again = tables(root, tmp_path / "again")
    assert len(computed) == LINES

    next_process(monkeypatch)
    monkeypatch.setenv(PLACE, "")
    without = tables(root, tmp_path / "without")
    assert len(computed) == 2 * LINES
    assert first == again == without


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"0\n{}", None])
def test_a_file_that_is_not_as_it_was_written_is_computed_again(
    content, root, place, computed, monkeypatch
):
    first = cells(root)
    for file in place.iterdir():
        file.write_bytes(file.read_bytes()[:-3] if content is None else content)
    computed.clear()

    next_process(monkeypatch)
    pd.testing.assert_frame_equal(cells(root), first)
    assert computed
    next_process(monkeypatch)
    computed.clear()
    assert len(cells(root)) == len(first)
    assert not computed


def test_other_rows_another_reference_or_other_code_are_computed(root, place, computed):
    cells(root)
    computed.clear()
    write_rows_of(root, "control_random", 9)
    cells(root)
    assert computed == ["control_random"]

    computed.clear()
    write_rows_of(root, "entropy_gradient", 9)
    cells(root)
    assert len(computed) == LINES  # it is the reference of all, and of plain

    before = module._key((root / "tiny_llava" / "mini_vstar" / METHODS[0],), (), summary)
    other = module._key((root / "tiny_llava" / "mini_vstar" / METHODS[0],), (), module)
    assert before != other
    assert before != module._key((root / "tiny_llava" / "mini_vstar" / METHODS[0],), (1,), summary)


def test_several_writers_of_one_summary_leave_one_whole_file(root, place, monkeypatch):
    evaluation = root / "tiny_llava" / "mini_vstar" / METHODS[0]

    def write(_):
        return kept((evaluation,), (), summary, lambda: {"score": 0.1 + 0.2})

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(40))) == [{"score": 0.1 + 0.2}] * 40
    (file,) = place.iterdir()
    assert file.suffix == ".json"
    next_process(monkeypatch)
    assert kept((evaluation,), (), summary, pytest.fail) == {"score": 0.1 + 0.2}


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(root, place, monkeypatch):
    monkeypatch.setenv(PLACE, os.devnull)
    assert len(cells(root)) == LINES


def test_a_bar_goes_through_every_row_of_the_table(root, place):
    seen = []
    cells(root, lambda all_of: (seen.append(each) or each for each in all_of))
    assert [method for *_, method in seen] == ["plain", *METHODS]
