"""Any bytes in the files of a run are read, or refused in one line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxae.config import TrainConfig
from flaxae.config.serialization import to_json
from flaxae.errors import InputError
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.runs.checkpoint_files import read_metadata
from flaxae.runs.metrics_file import read_lines
from flaxae.runs.workdir import read_config, read_dataset_info
from tests.fixtures.fuzzing import damaged, fuzzed

CONFIGS = [to_json(config) for config in (TrainConfig(), TrainConfig(model=FullyConnectedConfig()))]
DATASET = {
    "name": "tiny",
    "image_shape": [9, 7, 1],
    "class_names": ["bar", "box"],
    "sizes": {"train": 4},
    "digest": None,
}
METADATA = {
    "custom_metadata": {
        "config": json.loads(CONFIGS[0]),
        "progress": {"epoch": 1, "sums": {"loss": 0.5}},
        "digest": "abc",
        "validation_loss": 0.5,
        "history": [{"epoch": 1, "loss": 0.5}],
    }
}
READERS = {
    "config.json": (read_config, CONFIGS),
    "dataset.json": (read_dataset_info, [json.dumps(DATASET)]),
    "_CHECKPOINT_METADATA": (read_metadata, [json.dumps(METADATA)]),
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=5,
)


def read(folder: Path, name: str, content: bytes):
    """What the reader makes of the bytes; None if it refuses them in one line."""
    (folder / name).write_bytes(content)
    line, value = "one line", None
    try:
        value = READERS[name][0](folder)
    except InputError as error:
        line = str(error)
    assert line
    assert "\n" not in line
    assert len(line) < 1000
    return value


@pytest.mark.parametrize("name", READERS)
def test_what_was_written_is_read(tmp_path, name):
    for text in READERS[name][1]:
        assert read(tmp_path, name, text.encode()) is not None


@pytest.mark.parametrize("name", READERS)
@fuzzed(150)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused(tmp_path, name, data):
    content = data.draw(damaged([text.encode() for text in READERS[name][1]]))
    read(tmp_path, name, content)


@pytest.mark.parametrize("name", READERS)
@fuzzed(150)
@given(data=st.data())
def test_any_value_in_any_place_is_read_or_refused(tmp_path, name, data):
    tree = json.loads(data.draw(st.sampled_from(READERS[name][1])))
    place = data.draw(st.sampled_from(sorted(places(tree), key=str)))
    read(tmp_path, name, json.dumps(replaced(tree, place, data.draw(ANYTHING))).encode())


def places(tree, before=()):
    """The path of each value in a tree of JSON."""
    yield before
    if isinstance(tree, (dict, list)):
        keys = tree if isinstance(tree, dict) else range(len(tree))
        for key in keys:
            yield from places(tree[key], (*before, key))


def replaced(tree, place, value):
    if not place:
        return value
    tree[place[0]] = replaced(tree[place[0]], place[1:], value)
    return tree


@fuzzed(150)
@given(content=damaged([b'{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.25}\n']))
def test_the_rows_of_damaged_metrics_are_epochs_in_order(tmp_path, content):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    rows, fault = read_lines(tmp_path)
    epochs = [row["epoch"] for row in rows]
    assert epochs == sorted(set(epochs))
    assert fault is None or "\n" not in fault
    if fault is None:
        assert epochs == list(range(1, len(rows) + 1))
