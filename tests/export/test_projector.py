import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from flaxae.data.class_names import display_names
from flaxae.export.projector import (
    Sprite,
    Tensor,
    config_json,
    config_pbtxt,
    draw_sprite,
    sprite_layout,
    tensor_name,
)
from tests.fixtures.viewer_rules import LARGEST_SIDE, javascript_number, sprite_cells


@given(st.integers(2, 200_000), st.integers(1, 600), st.integers(1, 600))
@example(85_264, 28, 28)
@example(70_000, 28, 28)
@example(2, 20_000, 10)
def test_sprite_is_square_and_within_the_size_limit(points, height, width):
    side, thumbnail_width, thumbnail_height = sprite_layout(points, height, width)
    assert (side - 1) ** 2 < points <= side**2
    assert side * thumbnail_width <= LARGEST_SIDE
    assert side * thumbnail_height <= LARGEST_SIDE
    assert 1 <= thumbnail_width <= width
    assert 1 <= thumbnail_height <= height
    fits = side * max(height, width) <= LARGEST_SIDE
    assert fits == ((thumbnail_height, thumbnail_width) == (height, width))


@pytest.mark.parametrize(
    ("pixels", "most"), [(28, 85_264), (32, 65_536), (64, 16_384), (128, 4_096)]
)
def test_thumbnails_are_scaled_down_beyond_the_size_limit(pixels, most):
    assert sprite_layout(most, pixels, pixels)[1:] == (pixels, pixels)
    assert max(sprite_layout(most + 1, pixels, pixels)[1:]) < pixels


def test_thumbnails_keep_the_aspect_ratio():
    assert sprite_layout(10_000, 200, 100) == Sprite(side=100, width=40, height=81)


@settings(max_examples=30, deadline=None)
@given(
    points=st.integers(2, 40),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 2, 3, 4]),
    seed=st.integers(0, 99),
)
def test_each_sprite_cell_shows_its_image(points, height, width, channels, seed):
    shape = (points, height, width, channels)
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    sprite = sprite_layout(points, height, width)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sprite.png"
        draw_sprite(images, sprite).save(path)
        cells = sprite_cells(path, sprite.width, sprite.height, points)
    shown = images if channels == 3 else images.mean(-1, keepdims=True).round()
    for cell, image in zip(cells, shown, strict=True):
        np.testing.assert_array_equal(cell, np.broadcast_to(image, cell.shape))


def test_unused_sprite_cells_are_black():
    images = np.full((5, 4, 6, 3), 255, np.uint8)
    pixels = np.asarray(draw_sprite(images, sprite_layout(5, 4, 6)))
    assert pixels.shape == (12, 18, 3)
    assert pixels[4:8, 12:].max() == 0
    assert pixels[8:].max() == 0
    assert pixels[:4].min() == 255


@pytest.mark.parametrize("channels", [1, 3])
def test_scaling_down_keeps_the_brightness_of_strokes(channels):
    images = np.full((2, 64, 32, channels), 10, np.uint8)
    images[:, 24:40] = 240
    pixels = np.asarray(draw_sprite(images, Sprite(side=2, width=8, height=16)))
    first = pixels.reshape(32, 16, -1)[:16, :8]
    assert first[:6].max() == 10
    assert first[6:10].min() == 240
    assert first[10:].max() == 10


folder_names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))


@given(folder_names, st.integers(2, 10**6), st.integers(3, 2000))
@example('a "quoted" \\ and\nbroken naïve ~', 2, 3)
def test_protobuf_parses_the_pbtxt_config(folder, points, dimensions):
    tensor = Tensor("some_name", points, dimensions, Sprite(9, 28, 14))
    text = config_pbtxt(tensor, folder)
    assert text.isascii()
    assert text.endswith("}\n")
    config = text_format.Parse(text, ProjectorConfig())
    (info,) = config.embeddings
    assert info.tensor_name == "some_name"
    assert list(info.tensor_shape) == [points, dimensions]
    assert info.tensor_path == f"{folder}/vectors.tsv"
    assert info.metadata_path == f"{folder}/metadata.tsv"
    assert info.sprite.image_path == f"{folder}/sprite.png"
    assert list(info.sprite.single_image_dim) == [28, 14]  # width first
    assert not config.model_checkpoint_path


def test_pbtxt_without_folder_has_file_names_only():
    text = config_pbtxt(Tensor("name", 2, 3, Sprite(2, 1, 1)))
    (info,) = text_format.Parse(text, ProjectorConfig()).embeddings
    assert info.tensor_path == "vectors.tsv"


def test_json_config_has_the_standalone_projectors_format():
    text = config_json(Tensor("name", 100, 7, Sprite(10, 28, 14)))
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "embeddings": [
            {
                "tensorName": "name",
                "tensorShape": [100, 7],
                "tensorPath": "vectors.tsv",
                "metadataPath": "metadata.tsv",
                "sprite": {"imagePath": "sprite.png", "singleImageDim": [28, 14]},
            }
        ]
    }


@given(st.lists(st.text(min_size=1), min_size=1))
def test_tensor_name_needs_no_escaping_in_a_url(parts):
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", tensor_name(*parts))


names = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", " ", "\t", "a\tb", "a\r\nb", '"', "é", "e", "0", "0x1F", "Infinity", "½"]),
)


@given(st.lists(names, max_size=8))
@example(["e_2", "e", "e"])
@example(["e", "é", "e_1", "e", "", "class_4", "7", "1e5", ".5", "+1."])
def test_display_names_are_printable_unique_and_not_numeric(class_names):
    shown = display_names(class_names)
    assert len(shown) == len(class_names) == len(set(shown))
    for name in shown:
        assert name.isascii()
        assert name.isprintable()
        assert name == name.strip() != ""
        assert not javascript_number(name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("digit_7", "digit_7"),
        ("T-shirt/top", "T-shirt/top"),
        ('"quoted"', '"quoted"'),
        ("a\tb\n c", "a b c"),
        ("Crème brûlée", "Creme brulee"),
        ("中", "\\u4e2d"),
        ("", "class_0"),
        ("\n", "class_0"),
        ("12", "class_12"),
    ],
)
def test_display_name(name, shown):
    assert display_names([name]) == (shown,)
