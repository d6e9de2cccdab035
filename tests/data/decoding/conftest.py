"""The fixture that writes a file."""

import pytest
import tifffile


@pytest.fixture
def file(tmp_path):
    """Writes bytes, or an array with tifffile, and gives the path."""

    def write(content, **options):
        path = tmp_path / "file"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            tifffile.imwrite(path, content, **options)
        return path

    return write
