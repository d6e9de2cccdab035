"""The two ways in which a command ends without doing its work."""


class InputError(Exception):
    """Something the user gave cannot be used: the message says what came and what to do."""


class RunError(Exception):
    """A run cannot go on: a full disk, a loss that is no number, another process in the workdir."""
