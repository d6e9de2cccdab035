"""What an error of the disk means: a full one is waited out, any other one ends the run."""

import contextlib
import errno
import re
import sys
from collections.abc import Iterator

from flaxae.data.file_names import escaped
from flaxae.errors import RunError

# EFBIG: the process may not write larger files, which is a quota too.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full(error: BaseException) -> bool:
    """Whether the disk or a quota is full."""
    return _number(error) in _FULL


def reason(error: BaseException) -> str:
    """The error in some words; the texts of Orbax and TensorStore are pages long."""
    known = isinstance(error, OSError)
    name = f": {error.filename}" if known and error.filename else ""
    if is_full(error):
        return f"the disk or the quota is full{name}"
    if known and error.strerror:
        return f"{error.strerror}{name}"
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300]


@contextlib.contextmanager
def goes_on_without(what: str) -> Iterator[None]:
    """For files that a run can do without.

    Raises:
        RunError: the file cannot be written, and the reason is neither a full disk nor a folder of
            its name.
    """
    try:
        yield
    except OSError as error:
        if not (is_full(error) or isinstance(error, IsADirectoryError)):
            raise RunError(f"{what} cannot be written: {reason(error)}") from error
        warn(f"{what} cannot be written: {reason(error)}; the run goes on without it")


@contextlib.contextmanager
def ends_the_run(what: str) -> Iterator[None]:
    """For files that a run cannot do without: raises RunError if one cannot be written."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{what} cannot be written: {reason(error)}") from error


def warn(message: str) -> None:
    """Prints a line on stderr."""
    print(f"warning: {escaped(message)}", file=sys.stderr, flush=True)


def _number(error: BaseException | None) -> int | None:
    """The system's number of an error, also where a library tells it in its text only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        told = re.search(r"OS error (\d+)", str(error))
        if told:
            return int(told[1])
        if "RESOURCE_EXHAUSTED" in str(error):
            return errno.ENOSPC
        error = error.__cause__ or error.__context__
    return None
