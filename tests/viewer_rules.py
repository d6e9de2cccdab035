"""The viewers' parsers as their sources read, for the tests of what is exported.

Written from the rules and not from the writers: TensorBoard 2.21's projector plugin and the browser
code vz_projector/data-provider.ts.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig

LARGEST_SIDE = 8192


def browser_lines(path: Path, chunk: int = 1_000_000) -> Iterator[str]:
    """streamParse: chunks are decoded one by one, and a file without newline never ends."""
    content = path.read_bytes()
    assert content.isascii(), "a multi-byte character may be cut by a chunk"
    assert content.endswith(b"\n"), "a last line without newline may hang the browser"
    assert b"\r" not in content, "it would stick to the last column"
    rest = ""
    for first in range(0, len(content), chunk):
        *lines, last = (content[first : first + chunk]).decode("ascii").split("\n")
        if lines:
            yield rest + lines[0]
            yield from lines[1:]
            rest = last
        else:
            rest += last
    assert rest == ""


def read_vectors(path: Path) -> np.ndarray:
    """What both the server's and the browser's parser make of a tensor file; float32 [N, D]."""
    vectors = []
    for line in browser_lines(path):
        assert line == line.strip() != "", "a blank line, or blanks at a line's end"
        cells = line.split("\t")
        assert all(re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", cell) for cell in cells), line
        vectors.append([np.float32(cell) for cell in cells])
    assert len({len(vector) for vector in vectors}) == 1, "ragged rows"
    array = np.array(vectors, np.float32)
    assert len(array) >= 2
    assert array.shape[1] >= 3, "two dimensions make the default 3-D view a NaN"
    assert np.isfinite(array).all()
    return array


def read_metadata(path: Path) -> tuple[list[str], list[list[str]]]:
    """The column names and the rows of a metadata file."""
    lines = list(browser_lines(path))
    assert all(line.strip() for line in lines), "a blank line shifts every later row"
    assert "\t" in lines[0], "without a tab the first line counts as data"
    header, *rows = (line.split("\t") for line in lines)
    assert len(set(header)) == len(header) >= 2
    assert not {"__next__", "__seq_next__"} & set(header)
    for row in rows:
        assert len(row) == len(header)
        assert all(cell.strip() for cell in row), "an empty cell becomes null"
    return header, rows


def default_label(header: list[str], rows: list[list[str]]) -> str:
    """The column that the projector labels points with: the first that is not numeric."""
    for position, name in enumerate(header):
        if not all(javascript_number(row[position]) for row in rows):
            return name
    return header[0]


def javascript_number(text: str) -> bool:
    """Whether !isNaN(text) in JavaScript."""
    decimal = r"[+-]?(Infinity|\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?)"
    whole = r"0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+"
    return re.fullmatch(f"{decimal}|{whole}", text.strip(" \t\n\r\v\f")) is not None


def read_pbtxt(path: Path) -> EmbeddingInfo:
    """The one embedding of a config, by the parser that TensorBoard uses."""
    config = text_format.Parse(path.read_text("ascii"), ProjectorConfig())
    assert not config.model_checkpoint_path
    (info,) = config.embeddings
    assert re.fullmatch(r"[A-Za-z0-9_./-]+", info.tensor_name)
    for asset in (info.tensor_path, info.metadata_path, info.sprite.image_path):
        resolved = os.path.realpath(os.path.join(os.path.realpath(path.parent), asset))
        assert resolved.startswith(os.path.realpath(path.parent) + os.sep), "outside the folder"
        assert os.path.isfile(resolved), "a missing sprite hangs the page"
    return info


def read_json(path: Path) -> dict[str, object]:
    """The one embedding of the standalone projector's config."""
    config = json.loads(path.read_text("ascii"))
    assert set(config) == {"embeddings"}
    (info,) = config["embeddings"]
    return info


def sprite_cells(path: Path, width: int, height: int, points: int) -> list[np.ndarray]:
    """The thumbnail of each point as the shader finds it: by the number of rows, both ways."""
    with Image.open(path) as picture:
        assert max(picture.size) <= LARGEST_SIDE
        assert picture.mode in ("L", "RGB"), "what is transparent is discarded"
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[0] % height == 0
    assert pixels.shape[1] % width == 0
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    assert rows == columns, "the shader divides by the number of rows"
    assert rows**2 >= points
    return [
        pixels[
            point // rows * height : (point // rows + 1) * height,
            point % rows * width : (point % rows + 1) * width,
        ]
        for point in range(points)
    ]
