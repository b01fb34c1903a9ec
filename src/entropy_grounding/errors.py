"""The error that a user can fix: its message names the thing, the value and the remedy."""


class InputError(ValueError):
    """Bad input, configuration or model; command lines (`commands.command`) print its one sentence and exit with status 2."""


class ContextError(InputError):
    """A prompt is longer than the model's context; fewer pictures may fit."""
