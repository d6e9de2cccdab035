"""The line and the exit status of what ends a command early."""

import errno
import os

import pytest

from flaxae.commands.ending import ending_of


@pytest.mark.parametrize(
    ("number", "what_to_do"),
    [
        (errno.EACCES, "give this user the right to read and write it, or take another folder"),
        (errno.ENOSPC, "make room, and repeat the command"),
        (errno.EIO, "mend that, and repeat the command"),
    ],
)
def test_a_fault_names_the_file_and_what_to_do(number, what_to_do):
    text = os.strerror(number)
    ending = ending_of(OSError(number, text, "run/a\nb"))
    assert ending.status == 1
    assert ending.line == f"flaxae: error: run/a\\nb cannot be used: {text}; {what_to_do}"


def test_a_fault_without_a_file_is_a_sentence_too():
    ending = ending_of(OSError(errno.ENOSPC, "No space left on device"))
    line = "the system refused a file: No space left on device; make room, and repeat the command"
    assert ending.line == f"flaxae: error: {line}"
