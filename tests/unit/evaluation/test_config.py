"""What of a configuration counts in the hash of stored rows."""

import json

import pytest

from entropy_grounding.core.config import compose_config
from entropy_grounding.evaluation.config import DEFAULTS, EvaluateConfig, run_manifest


def test_no_default_of_a_stored_option_has_changed(pytestconfig):
    """Options at their defaults do not count in the config hash: rows would mix.

    New options are added with --freeze-prompts.
    """
    path = pytestconfig.rootpath / "tests" / "data" / "defaults.json"
    now = json.loads(json.dumps(DEFAULTS))
    if pytestconfig.getoption("freeze_prompts"):
        path.write_text(json.dumps(now, indent=2) + "\n")
    assert json.loads(path.read_text()) == now


@pytest.mark.parametrize(
    ("method", "counts"),
    [("entropy_gradient", False), ("vicrop_rel_att", False), ("vicrop_rel_att_chosen", True)],
)
def test_the_layer_of_attention_counts_only_where_a_method_asks_for_it(method, counts):
    def fingerprint(*overrides):
        config = compose_config(
            [f"method={method}", "method_name=any", *overrides], "evaluate", EvaluateConfig
        )
        return run_manifest(config)["config_hash"]

    assert (fingerprint("vlm.attention_layer=1") != fingerprint("vlm.attention_layer=2")) == counts
