"""The small files of the released checkpoints, from the hub: everything but the weights."""

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from twins import Twin

SMALL = ("*.json", "*.jinja", "*.txt", "*.model")
PATIENCE = 10.0  # seconds to wait for the hub


def released_files(target: Path, twins: Iterable[Twin], endpoint: str | None = None) -> Path | None:
    """Fetch the small files into a folder as `write_twin` reads it, and return the folder.

    Args:
        target: a subfolder is made for each checkpoint.
        twins: of these checkpoints.
        endpoint: address of the hub; None takes the one of the environment.

    Returns:
        None where the hub is out of reach, after saying so. Files that came stay there.
    """
    for twin in twins:
        try:
            commit = HfApi(endpoint).model_info(twin.hub_id, timeout=PATIENCE).sha
            snapshot_download(
                twin.hub_id,
                revision=commit,
                local_dir=target / twin.folder,
                allow_patterns=list(SMALL),
                endpoint=endpoint,
            )
        except Exception as error:  # of the network and of the hub: too many kinds to list
            print(f"No released files ({error}): twins from facts alone.", flush=True)
            return None
        print(f"Released files of {twin.hub_id} at {commit}.", flush=True)
    return target
