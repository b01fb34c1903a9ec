"""What lmms-eval reads of every installed package, before it knows which model is asked for.

The entry point ``lmms_eval.models`` leads here. The model itself is imported when it is asked for.
"""

from lmms_eval.models.registry_v2 import ModelManifest

MANIFEST = ModelManifest(
    model_id="entropy_grounding",
    chat_class_path="entropy_grounding.harness.lmms_eval.EntropyGrounding",
)
