"""What the gate keeps of gain and passes, from rows whose outcome is known."""

import pandas as pd

from entropy_grounding.evaluation.archive import write_results
from entropy_grounding.reporting.gate_tables import gate_summary, gate_table


def test_the_summary_says_what_of_gain_and_passes_is_kept(tmp_path):
    """Two of three points gained, 16 of 28 passes.

    Where nothing is hidden, zooming spoils one right answer and the gate none.
    """
    for benchmark, plain, ungated, gated, passes in (
        ("mini_vstar", [0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 0, 1], [(3, 2), (3, 2), (1, 0), (1, 0)]),
        ("mini_gqa", [1, 0], [0, 0], [1, 0], [(1, 0), (1, 0)]),
    ):
        for root, name, scores, spent in (
            ("table1", "entropy_gradient", ungated, [(3, 2)] * len(plain)),
            ("gate", "gated", gated, passes),
        ):
            table = pd.DataFrame(
                {
                    "vlm": "tiny_llava",
                    "benchmark": benchmark,
                    "example_id": range(len(plain)),
                    "plain_score": plain,
                    "score": scores,
                }
            )
            table = table.assign(
                forwards=[forwards for forwards, _ in spent],
                backwards=[backwards for _, backwards in spent],
            )
            write_results(
                tmp_path / "results" / "rows" / root / "tiny_llava" / benchmark / name,
                table,
                {"weights_sha256": "abcdef0123456789", "commit": "1234567"},
            )
    found = gate_summary(tmp_path)
    line = found.splitlines()[2]
    assert [part.strip() for part in line.split("|")[1:-1]] == [
        "`tiny_llava`",
        "1.00",
        "50.0, 50.0",
        "0 of 1",
        "67 %",
        "57 %",
    ]
    assert "not run" in gate_table(tmp_path)
    assert found.endswith("`tiny_llava` abcdef012345 (commit 1234567, n = 2, 4).")
