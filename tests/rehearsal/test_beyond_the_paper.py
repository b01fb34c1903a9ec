"""The benchmarks beyond the paper, through the same commands: fetched, looked at, evaluated."""

import pytest
from child import served
from published import PUBLISHED
from twins import TWINS, write_twin

LLAVA = TWINS["llava_1_5_7b"]
SOURCES = {
    "hr_bench_4k": "DreamMr/HR-Bench",
    "mme_realworld_lite": "yifanzhang114/MME-RealWorld-lite-lmms-eval",
}


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    twin = write_twin(LLAVA, tmp_path_factory.mktemp("twin"))
    with served({LLAVA.hub_id: twin}, folder) as child:
        yield child


@pytest.mark.parametrize("name", SOURCES)
def test_a_benchmark_beyond_the_paper_is_fetched_and_evaluated(name, fresh, tmp_path):
    assert SOURCES[name] in PUBLISHED
    status, printed = fresh.ask("eg", "fetch", f"benchmark={name}")
    assert status == 0, printed
    files = {path.name for path in fresh.home.rglob("*.parquet")}
    assert len(files) == 1, files  # of HR-Bench, the resolution that was asked for

    chosen = ["vlm=llava_1_5_7b", f"benchmark={name}", "method=base"]
    status, printed = fresh.ask("eg", "doctor", *chosen)
    assert name in printed and SOURCES[name] in printed, printed

    twin = ["vlm.name=twin", "vlm.dtype=float32", "tracking=disabled", f"results_dir={tmp_path}"]
    status, printed = fresh.ask(
        "eg", "evaluate", *chosen, *twin, "benchmark.protocol.max_new_tokens=2"
    )
    assert status == 0, printed
    assert "n = 4" in printed and "as published: plain " in printed, printed
