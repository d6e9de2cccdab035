"""Messages between the processes of a run: a star of sockets around process 0.

JAX's collectives move arrays. What is agreed on beside them travels here, as lines of JSON: which
checkpoint is restored, whether a signal asks to stop, who has failed. A process whose connection
ends without a word is lost, which all others then know at once. One that is stopped keeps its
connection, so each process also gives a sign of life every few seconds.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from flaxae.training import signs

TICK = 0.5  # seconds between two looks at who is late or silent


class Failure(NamedTuple):
    """Why a run of several processes ends."""

    status: int  # of every process that ends because of it
    line: str


class Wire:
    """What a process has of the star. All processes ask for the same names in the same order.

    `patience` is for how many seconds one that is late or silent is waited for. `on_failure` is
    called in a thread, once, when another process has failed.
    """

    def __init__(
        self,
        index: int,
        names: list[str],
        others: Iterable[int],
        patience: float,
        on_failure: Callable[[Failure], None],
    ) -> None:
        self.index = index
        self.count = len(names)
        self.names = names  # of all processes, for messages
        self._patience = patience
        self._on_failure = on_failure
        self._signs = signs.SignsOfLife(others)  # of those to which this process is connected
        self._asked: Counter[str] = Counter()
        self._answers: dict[str, list[Any]] = {}
        self._changed = threading.Condition()
        self._is_over = False

    def ask(self, name: str, value: Any, patient: bool = True) -> str:
        """Gives this process's value, and returns at once; `answer` has those of all.

        Processes that have not given theirs are waited for: `patient` without an end.
        """
        self._asked[name] += 1
        key = f"{name} {self._asked[name]}"
        self._give(key, value, patient)
        return key

    def answer(self, key: str) -> list[Any]:
        """Waits for the values of all processes, in their order."""
        with self._changed:
            while key not in self._answers:
                self._changed.wait(0.2)  # so that signals are handled meanwhile
            return self._answers.pop(key)

    def gather(self, name: str, value: Any = None, patient: bool = True) -> list[Any]:
        """The values of all processes, in their order; a barrier too."""
        return self.answer(self.ask(name, value, patient))

    def fail(self, status: int, line: str) -> None:
        """Tells the others that this process has failed."""
        raise NotImplementedError

    def leave(self) -> None:
        """Says goodbye; process 0 waits for the others, whose runtime needs it."""
        raise NotImplementedError

    def _give(self, key: str, value: Any, patient: bool) -> None:
        raise NotImplementedError

    def _send_sign(self) -> None:
        """Sends a sign of life to those that were heard lately."""
        raise NotImplementedError

    def _end_all(self, failure: Failure) -> None:
        """Ends this process and all others."""
        raise NotImplementedError

    def _live(self) -> None:
        """Gives signs of life, in a thread of its own."""
        while not self._is_over:
            self._send_sign()
            time.sleep(signs.SIGN)

    def _look_for_silent(self, but: Collection[int] = (), known: Collection[int] = ()) -> None:
        """Of a process that is stopped within a step, the others wait in the step's sum."""
        if self._is_over:
            return
        patience = max(self._patience, 5 * signs.SIGN)
        name = self._signs.look(self.names, patience, but, known)
        if name is not None:
            self._give_up(f"{name} gave no sign of life", patience)

    def _give_up(self, what: str, seconds: float) -> None:
        line = f"{what} within {seconds / 60:g} minutes; --wait-minutes gives more"
        self._end_all(Failure(1, line))

    def _complete(self, key: str, values: list[Any]) -> None:
        with self._changed:
            self._answers[key] = values
            self._changed.notify_all()

    def _end(self, failure: Failure) -> None:
        if not self._is_over:
            self._is_over = True
            self._on_failure(failure)
