"""The command line: one module for each command.

A command is a module with `Options`, a dataclass whose fields are its flags, and a function
`run(options) -> exit status`. It imports what is heavy inside that function, so that `--help` and
a wrong flag answer at once.
"""
