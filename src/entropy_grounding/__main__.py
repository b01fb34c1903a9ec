"""The command line ``eg COMMAND ...``; also ``python -m entropy_grounding COMMAND ...``."""

import sys
from argparse import Namespace
from importlib import import_module

from entropy_grounding.commands.catalogue import (
    INTERNAL,
    PARSERS,
    UsageError,
    check_command,
    check_options,
    help_text,
    overview,
    parsed,
)

BAD_INPUT = 2  # exit status
INTERRUPTED = 130  # as a shell gives it


def main() -> None:
    """Run the command that the first argument names; only that one is imported."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        print(overview())
        return

    name, *arguments = sys.argv[1:]
    try:
        options = _options(name, arguments)
        if options is None:
            return
        module = import_module(f"entropy_grounding.commands.{name}")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)

    sys.argv = [f"eg {name}", *arguments]
    module.main(options)


def _options(name: str, arguments: list[str]) -> Namespace | None:
    """Check the arguments of a command before anything heavy is imported.

    Returns None if only help was wanted.
    """
    check_command(name)
    if name in PARSERS:
        return parsed(name, arguments)
    if name not in INTERNAL and {"-h", "--help"} & set(arguments):
        print(help_text(name))
        return None

    if name not in INTERNAL:
        check_options(name, arguments)
    return Namespace(arguments=arguments)


if __name__ == "__main__":
    main()
