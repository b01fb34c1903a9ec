"""Identity and loading are of the split's own files: others may come and go beside them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entropy_grounding.benchmarks.data_files import local_files
from entropy_grounding.benchmarks.identity import data_identities
from entropy_grounding.benchmarks.load import benchmark_config
from entropy_grounding.benchmarks.sources import open_rows
from entropy_grounding.core import identity
from entropy_grounding.core.errors import InputError


def write(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        pq.write_table(pa.table({"question": [name]}), folder / f"{name}.parquet")


def pope(folder, **changes):
    return benchmark_config("pope", path=str(folder), **changes)


def test_another_split_beside_it_changes_neither_identity_nor_rows(tmp_path):
    write(tmp_path / "data", "test-00000-of-00001")
    config = pope(tmp_path)
    before = data_identities(config)
    write(tmp_path / "data", "train-00000-of-00001", "validation-00000-of-00001")
    assert data_identities(config) == before
    rows = open_rows(config.path, config, ("question",))
    assert [row["question"] for row in rows] == ["test-00000-of-00001"]


def test_another_split_of_the_boxes_changes_nothing_either(tmp_path):
    write(tmp_path / "data", "test-00000-of-00001")
    pq.write_table(
        pa.table({"dataset_id": ["1"], "bbox": [[0, 0, 1, 1]]}), tmp_path / "train.parquet"
    )
    (tmp_path / "boxes").mkdir()
    (tmp_path / "train.parquet").rename(tmp_path / "boxes" / "train.parquet")
    config = pope(tmp_path / "data", boxes=str(tmp_path / "boxes"))
    before = data_identities(config)
    (tmp_path / "boxes" / "README.md").write_text("changed")
    write(tmp_path / "boxes", "validation")
    assert data_identities(config) == before


def test_a_file_is_read_once_for_its_identity(tmp_path, monkeypatch):
    write(tmp_path, "test-00000-of-00001", "train-00000-of-00001")
    opened = []
    read = Path.open

    def counted(path, *args, **kwargs):
        opened.append(path.name)
        return read(path, *args, **kwargs)

    identity._sha256.cache_clear()
    monkeypatch.setattr(Path, "open", counted)
    for _ in range(3):
        data_identities(pope(tmp_path))
    assert opened == ["test-00000-of-00001.parquet"]


def test_a_file_that_changed_is_read_again(tmp_path):
    write(tmp_path, "test")
    before = data_identities(pope(tmp_path))
    pq.write_table(
        pa.table({"question": ["another one", "and another"]}), tmp_path / "test.parquet"
    )
    assert data_identities(pope(tmp_path)) != before


def test_half_a_download_is_refused(tmp_path):
    write(tmp_path / "data", "test-00000-of-00003", "test-00002-of-00003")
    with pytest.raises(InputError, match=r"has no data/test-00001-of-00003.parquet: some of its"):
        local_files(str(tmp_path), "test", None)


def test_half_a_download_of_another_split_does_not_matter(tmp_path):
    write(tmp_path / "data", "test-00000-of-00001", "train-00001-of-00002")
    (file,) = local_files(str(tmp_path), "test", None)
    assert file.name == "test-00000-of-00001.parquet"
