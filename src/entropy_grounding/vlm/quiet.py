"""Silence what libraries say once a layer, for a block."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# bitsandbytes says for every 8-bit layer that it quantises its inputs from bfloat16.
_CASTS = logging.getLogger("bitsandbytes.autograd._functions")
_SAYS = "MatMul8bitLt: inputs will be cast"


def _is_no_cast(record: logging.LogRecord) -> bool:
    """Tell whether a record is another one than that of the casts."""
    return not str(record.msg).startswith(_SAYS)


@contextmanager
def quiet_casts() -> Iterator[None]:
    """Drop the line of 8-bit layers about their inputs for a block; other lines are kept."""
    if _is_no_cast in _CASTS.filters:  # inside another such block
        yield
        return

    _CASTS.addFilter(_is_no_cast)
    try:
        yield
    finally:
        _CASTS.removeFilter(_is_no_cast)
