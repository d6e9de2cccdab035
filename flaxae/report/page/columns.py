"""Arrays and texts as the page's script reads them: compressed, in base64."""

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

import numpy as np


def pack(array: np.ndarray) -> dict[str, Any]:
    """An array of numbers: type, shape, and gzip of its bytes.

    The first bytes of all numbers come first, then the second ones, and so on, which compresses
    better than one number after the other.
    """
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    planes = little.reshape(-1).view(np.uint8).reshape(-1, array.dtype.itemsize).T
    return {"type": array.dtype.name, "shape": array.shape, "bytes": _compressed(planes.tobytes())}


def pack_texts(texts: Sequence[str]) -> dict[str, Any]:
    """A list of texts."""
    return {"type": "text", "shape": (len(texts),), "bytes": _compressed(_json(texts))}


def _json(texts: Sequence[str]) -> bytes:
    # Half a surrogate pair, as a file name may have, becomes \\udc80, which JavaScript reads.
    return json.dumps(list(texts)).encode()


def _compressed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
