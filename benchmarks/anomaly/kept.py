"""What was measured before is not measured again: a file of JSON for each run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flaxae.data.atomic import write_atomically


def kept(path: Path, measure: Callable[[], Any]) -> Any:
    """What the file holds, else what `measure` returns, which is written there."""
    if not path.exists():
        found = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(found).encode())
    return json.loads(path.read_text())
