"""The files of an entry: its images, a record for each row, checksums and a description."""

import contextlib
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from flaxae.data.store.images import ImageFile, checksums
from flaxae.data.store.plan import Entry, Plan

VERSION = 1
DESCRIPTION = "description.json"
MARKER = "made-by-flaxae"  # without it, a folder is no entry and never deleted
IMAGES, TARGETS, ROWS = "images.u8", "targets.u8", "rows.npy"
RECORD = np.dtype(
    [
        ("hash", "<u8"),
        ("target_hash", "<u8"),
        ("identity", "<u8"),
        ("label", "<i4"),
        ("state", "u1"),
    ]
)
TODO, GOOD, BAD = 0, 1, 2
UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, IndexError)


def find(root: Path, name: str, fingerprint: str) -> Entry | None:
    """The entry, or None where it is absent, of other images, or damaged."""
    folder = root / name
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        if (description["version"], description["fingerprint"]) != (VERSION, fingerprint):
            return None
        return read(folder, description)
    except UNREADABLE:
        return None


def describe(scratch: Path, plan: Plan, records: Any, of_images: np.ndarray | None) -> None:
    """Writes the checksums and what is known of the entry.

    `of_images` are the checksums of the images, if they are known.
    """
    todo = int((records["state"] == TODO).sum())
    assert not todo, f"the decoder of {plan.source} left out {todo} images"
    shape = (plan.rows, *plan.image_shape)
    where = {IMAGES: plan.in_place or (scratch / IMAGES, 0), TARGETS: (scratch / TARGETS, 0)}
    for name in [IMAGES, TARGETS] if plan.has_targets else [IMAGES]:
        path, offset = where[name]
        sums = of_images if name == IMAGES else None
        if sums is None:
            sums = checksums(path, shape, offset)
        np.save(scratch / f"{name}.crc.npy", sums)
    notes: Counter[str] = Counter()
    bad: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (scratch / "remarks.jsonl").read_text().splitlines():
            with contextlib.suppress(ValueError):  # a line that a kill or a full disk cut short
                remark = json.loads(line)
                notes.update(remark["notes"])
                bad |= remark["bad"]
    description = {
        "version": VERSION,
        "fingerprint": plan.fingerprint,
        "source": plan.source,
        "shape": shape,
        "targets": plan.has_targets,
        "in_place": [str(plan.in_place[0]), plan.in_place[1]] if plan.in_place else None,
        "rows_sha256": hashlib.sha256(np.ascontiguousarray(records).tobytes()).hexdigest(),
        "bad": {
            str(row): bad.get(str(row), "cannot be decoded")
            for row in np.flatnonzero(records["state"] == BAD).tolist()
        },
        "notes": notes,
        "facts": dict(plan.facts),
    }
    (scratch / DESCRIPTION).write_text(json.dumps(description))


def read(folder: Path, description: dict[str, Any]) -> Entry:
    """The entry in a folder; raises one of UNREADABLE if something is damaged."""
    shape = tuple(description["shape"])
    records = np.load(folder / ROWS)
    if hashlib.sha256(records.tobytes()).hexdigest() != description["rows_sha256"]:
        raise ValueError(f"{folder / ROWS} is damaged")
    given = description["in_place"]
    path, offset = (Path(given[0]), given[1]) if given else (folder / IMAGES, 0)
    images = ImageFile(folder, path, shape, offset, np.load(folder / f"{IMAGES}.crc.npy"))
    targets = None
    if description["targets"]:
        sums = np.load(folder / f"{TARGETS}.crc.npy")
        targets = ImageFile(folder, folder / TARGETS, shape, 0, sums)
    bad = {int(row): why for row, why in description["bad"].items()}
    return Entry(
        folder,
        images,
        targets,
        np.ascontiguousarray(records["label"]),
        np.ascontiguousarray(records["hash"]),
        np.ascontiguousarray(records["target_hash"]),
        records["state"] == GOOD,
        bad,
        description["notes"],
        description["facts"],
        fresh=False,
    )
