"""The images of one shape, in every form that they are read from."""

from pathlib import Path

import numpy as np
from PIL import Image

_MOST = 30_000  # images; each is also a JPEG and a PNG file
_COARSE = 6  # pixels a side, from which an image is enlarged
_OPTIONS = {"jpg": {"quality": 90}, "png": {}}


def smooth_images(megabytes: int, side: int, channels: int) -> np.ndarray:
    """Soft random images [N, side, side, channels] of at most so many MB."""
    count = max(min(megabytes * 10**6 // (side * side * channels), _MOST), 1)
    coarse = (count, _COARSE, _COARSE, channels)
    coarse = np.random.default_rng(0).integers(0, 256, coarse, np.uint8)
    images = [_picture(each).resize((side, side), Image.Resampling.BICUBIC) for each in coarse]
    return np.stack([np.asarray(each) for each in images]).reshape(count, side, side, channels)


def write_arrays(images: np.ndarray, folder: Path) -> list[Path]:
    """An .npy and an .npz of the images."""
    paths = [folder / "images.npy", folder / "images.npz"]
    np.save(paths[0], images)
    np.savez(paths[1], images=images)
    return paths


def write_files(images: np.ndarray, folder: Path, suffix: str) -> np.ndarray:
    """Writes a file for each image; returns their pixels as Pillow reads them, without flaxae."""
    folder.mkdir()
    paths = [folder / f"{number:06}.{suffix}" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        _picture(image).save(path, **_OPTIONS[suffix])
    return np.stack([np.asarray(Image.open(path)) for path in paths]).reshape(images.shape)


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
