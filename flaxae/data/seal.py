"""The seal of a folder: the sha256 of each of its files, in one more file."""

import hashlib
import json
from pathlib import Path

NAME = "flaxae_sha256.json"


def seal_of(folder: Path) -> bytes:
    """What the seal of these files holds."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME]
    return json.dumps({str(path.relative_to(folder)): _sha256(path) for path in files}).encode()


def damage(folder: Path) -> str | None:
    """What is wrong with the files that were sealed; None if nothing is. Others are left alone."""
    try:
        sealed = json.loads((folder / NAME).read_text())
        if not isinstance(sealed, dict) or not sealed:
            return "its seal names no file"
        changed = (name for name in sorted(sealed) if _has_changed(folder / name, sealed[name]))
        found = next(changed, None)
    except FileNotFoundError:
        return "it has no seal"
    except (ValueError, RecursionError):
        return "its seal cannot be read"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None if found is None else f"{found} has changed"


def _has_changed(path: Path, digest: object) -> bool:
    return not path.is_file() or _sha256(path) != digest


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
