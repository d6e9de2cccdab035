from pathlib import Path

import numpy as np
import pytest

from flaxae.data.splits import Split
from flaxae.errors import RunError
from flaxae.export.pictures import write_pictures

IMAGES = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 8, 8, 1)


def test_a_full_disk_leaves_whole_pictures_only(tmp_path, monkeypatch):
    real, written = Path.write_bytes, []

    def fill_up(path, content):
        written.append(path)
        if len(written) == 2:
            real(path, content[:20])
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    expected = rf"{tmp_path} could not be written \(No space left on device\); make room"
    with pytest.raises(RunError, match=expected):
        write_pictures(tmp_path, Split(IMAGES), lambda images: images, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]
    assert write_pictures(tmp_path, Split(IMAGES), lambda images: images, 2) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "2.png"]
