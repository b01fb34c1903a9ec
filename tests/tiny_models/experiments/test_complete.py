"""What an experiment lacks is run with the options of each variant."""

from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.experiments.complete import complete
from entropy_grounding.experiments.config import load_experiment


def test_a_variant_that_changes_the_vlm_is_answered_by_that_vlm(tmp_path):
    chosen = {"results_dir": str(tmp_path), "tracking": "disabled"}
    setup = load_experiment("ablation_min_pixels", "smoke", ["benchmark.examples=3"], **chosen)
    folders = complete(setup)

    tokens = {
        variant: load_rows(path)[0]["visual_tokens"].sum()
        for (*_, variant), path in folders.items()
    }
    assert tokens["min_pixels_64"] < tokens["min_pixels_1024"] < tokens["entropy_gradient"]
    assert tokens["min_pixels_16384"] > 2 * tokens["entropy_gradient"]
