"""How long the other processes of a run have been silent."""

import logging
import time
from collections.abc import Collection, Iterable

logger = logging.getLogger("flaxae.processes")

SIGN = 2.0  # seconds between two signs of life
FIRST_NOTE = 10.0  # seconds; the next notes come after twice the time each
_LONGEST_LOOK = 1.0  # seconds


class SignsOfLife:
    """When the others were last heard. `look` is to be called at least once a second.

    The time in which this process was itself stopped does not count, because it heard nobody then.
    """

    def __init__(self, others: Iterable[int]) -> None:
        self._silent = dict.fromkeys(others, 0.0)  # seconds
        self._noted: dict[int, float] = {}  # seconds before the next note
        self._looked = time.monotonic()

    def heard(self, index: int) -> None:
        """A message has come from that process."""
        self._silent[index] = 0.0
        self._noted.pop(index, None)

    def lately(self) -> list[int]:
        """Those that were heard before they would be noted as silent.

        Only these are sent signs of life, because messages to one that is stopped fill its buffer,
        and a full buffer stops the sender too.
        """
        return [index for index, seconds in self._silent.items() if seconds < FIRST_NOTE]

    def look(
        self, names: list[str], patience: float, but: Collection[int], known: Collection[int]
    ) -> str | None:
        """Notes who is silent, and returns the name of one that is so for more than `patience`.

        Args:
            names: of all processes.
            patience: in seconds.
            but: who has left.
            known: of whom the user has been told otherwise that they are waited for.
        """
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, _LONGEST_LOOK), now
        for index in self._silent.keys() - but:
            self._silent[index] += passed
            silent, name = self._silent[index], names[index]
            if silent > patience:
                return name
            if index not in known and silent > self._noted.get(index, FIRST_NOTE):
                self._noted[index] = 2 * silent
                logger.info(
                    "waiting for %s, no sign of life for %.0f seconds", names[index], silent
                )
        return None
