"""The seal of a folder: the sha256 of each of its files, in one more file."""

import hashlib
import json
from pathlib import Path

NAME = "flaxae_sha256.json"


def seal_of(folder: Path) -> bytes:
    """What the seal of these files holds."""
    return json.dumps(_hashes(folder)).encode()


def damage(folder: Path) -> str | None:
    """What is wrong with the files that were sealed; None if nothing is. Others are left alone."""
    try:
        sealed, found = json.loads((folder / NAME).read_text()), _hashes(folder)
    except FileNotFoundError:
        return "it has no seal"
    except (ValueError, RecursionError):
        return "its seal cannot be read"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if not isinstance(sealed, dict) or not sealed:
        return "its seal names no file"
    names = sorted(name for name, digest in sealed.items() if found.get(name) != digest)
    return f"{names[0]} has changed" if names else None


def _hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file below `folder` but the seal itself, by relative path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME]
    return {str(path.relative_to(folder)): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
