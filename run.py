"""Runs flaxae from a checkout: `python run.py train --help`."""

import os
import signal


def _leave(number: int, frame: object) -> None:
    """Ends the process after a signal; there is nothing to clean up while it starts."""
    os.write(2, f"flaxae: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)


# Before the other imports, which a signal would end with a traceback. The same signals as in
# flaxae/commands/process.py, which is not imported yet.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
for _number in (signal.Signals[_name] for _name in _NAMES):
    if __name__ == "__main__" and signal.getsignal(_number) != signal.SIG_IGN:
        signal.signal(_number, _leave)

from flaxae.commands.process import run  # noqa: E402

if __name__ == "__main__":
    run()
