from unittest.mock import Mock

import pytest
from PIL import Image

from flaxae.report.figures import png
from flaxae.runs.pictures import Pictures
from flaxae.training.loop import View


@pytest.fixture
def folder(tmp_path):
    """The pictures of epochs 1, 2 and 10; a title of one more digit is wider."""
    folder = tmp_path / "reconstructions"
    folder.mkdir()
    for epoch, width in ((1, 30), (10, 31), (2, 30)):
        picture = Image.new("RGB", (width, 9), (epoch * 20, 0, 0))
        (folder / f"epoch_{epoch:04d}.png").write_bytes(png(picture))
    return folder


def test_animation_shows_every_epoch_in_order(tmp_path, folder):
    Pictures(tmp_path).on_end(Mock(spec=View, status="finished"))
    with Image.open(folder / "animation.webp") as animation:
        assert animation.n_frames == 3
        assert animation.info["loop"] == 0
        reds = []
        for frame in range(3):
            animation.seek(frame)
            reds.append(animation.convert("RGB").getpixel((0, 0))[0])
    assert reds == [20, 40, 200]


@pytest.mark.parametrize("status", ["stopped", "failed"])
def test_only_a_finished_run_has_an_animation(tmp_path, folder, status):
    Pictures(tmp_path).on_end(Mock(spec=View, status=status))
    assert not (folder / "animation.webp").exists()


def test_deleted_pictures_are_no_error(tmp_path):
    Pictures(tmp_path).on_end(Mock(spec=View, status="finished"))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_of_too_many_pixels_is_left_out(tmp_path, folder, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9 * 31)  # Pillow refuses twice as many
    big = Image.new("RGB", (63, 9))
    (folder / "epoch_0003.png").write_bytes(png(big))
    Pictures(tmp_path).on_end(Mock(spec=View, status="finished"))
    assert "epoch_0003.png cannot be read" in capsys.readouterr().err


def test_a_folder_in_place_of_the_animation_is_said(tmp_path, folder, capsys):
    (folder / "animation.webp").mkdir()
    Pictures(tmp_path).on_end(Mock(spec=View, status="finished"))
    assert "the animation cannot be written: Is a directory" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 4  # nothing half written
