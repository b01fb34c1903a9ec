"""The command ``python -m entropy_grounding.merge FOLDER ...``: join the part files of each results folder into its ``rows.parquet``."""

import sys

from entropy_grounding.errors import InputError
from entropy_grounding.results import merge, missing_text


def main() -> None:
    """Join the parts of each folder of the command line, and say how many rows there are."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit("usage: python -m entropy_grounding.merge FOLDER ...   joins the part files of each results folder into its rows.parquet")
    try:
        for folder in sys.argv[1:]:
            path, count = merge(folder)
            print(f"{path}: {count} rows", flush=True)
            if missing := missing_text(path.parent):
                print(f"{path}: {missing}", file=sys.stderr)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
