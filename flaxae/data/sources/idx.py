"""MNIST, Fashion-MNIST and Kuzushiji-MNIST from their official IDX files.

The files come from `manual_dir`, gzipped or not, or from TFDS's download manager. They are
decompressed here and not by TFDS, which extracts into a cache by file name, because the three
datasets use the same file names. Format: http://yann.lecun.com/exdb/mnist/ (a big-endian header,
then bytes).
"""

import gzip
import hashlib
import io
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from flaxae.data.file_names import printable
from flaxae.data.sources.local_info import LocalInfo
from flaxae.errors import InputError

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# Bytes of the official files, decompressed; the three datasets have the same sizes.
LARGEST = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}
_GZIP_BYTES = 2**17  # by which an archive may be larger than its content
VALIDATION_IMAGES = 5_000  # the last ones of the official training files


class _IdxBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The four official IDX files, gzipped or not."

    official: ClassVar[Any]  # TFDS's builder, which has the URL and the archives' checksums
    class_names: ClassVar[tuple[str, ...]]
    data_sha256: ClassVar[Mapping[str, str]] = MappingProxyType({})  # of the decompressed files

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8, encoding="zlib"),
            "label": tfds.features.ClassLabel(names=list(self.class_names)),
        }
        return LocalInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=self.official.URL,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        names = [name for pair in FILES.values() for name in pair]
        found = find_files(Path(dl_manager.manual_dir)) if has_manual_dir(dl_manager) else {}
        if not found:
            downloads = dl_manager.download({name: self.url(name) for name in names})
            found = {name: Path(path) for name, path in downloads.items()}
        arrays = {name: parse_idx(self.verified(name, found[name]), name) for name in names}
        images, labels = (arrays[name] for name in FILES["train"])
        cut = len(images) - VALIDATION_IMAGES
        return {
            "train": _examples(images[:cut], labels[:cut]),
            "validation": _examples(images[cut:], labels[cut:]),
            "test": _examples(*(arrays[name] for name in FILES["test"])),
        }

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError("_split_generators returns the examples of each split")

    @classmethod
    def url(cls, name: str) -> str:
        return f"{cls.official.URL}{name}.gz"

    @classmethod
    def archive_sha256(cls, name: str) -> str:
        """Returns the sha256 that TFDS has registered for the gzipped file."""
        return cls.official.url_infos[cls.url(name)].checksum

    @classmethod
    def verified(cls, name: str, path: Path) -> bytes:
        """Returns the decompressed content of `path`, after checking that it is the file `name`.

        Raises:
            InputError: the archive is damaged, or neither its sha256 nor that of its content is
                that of the official file.
        """
        most = LARGEST[name]
        too_large = InputError(
            f"{printable(path)} holds more than the {most:,} bytes of the official file; "
            f"download it from {cls.url(name)}"
        )
        if path.stat().st_size > most + _GZIP_BYTES:
            raise too_large
        archive = path.read_bytes()
        data = _unpacked(path, archive, most + 1)  # 9 MB can unpack to 9 GB
        if len(data) > most:
            raise too_large
        is_official = hashlib.sha256(archive).hexdigest() == cls.archive_sha256(name)
        found, official = hashlib.sha256(data).hexdigest(), cls.name.removeprefix("idx_")
        if not is_official and found != cls.data_sha256.get(name):
            raise InputError(
                f"{printable(path)} is not {official}'s {name}: the sha256 of its content "
                f"is {found}; download the official archive from {cls.url(name)}"
            )
        return data


class IdxMnist(_IdxBuilder, skip_registration=True):
    """MNIST: 70,000 handwritten digits."""

    name = "idx_mnist"
    official = tfds.image_classification.MNIST
    class_names = tuple(f"digit_{digit}" for digit in range(10))
    data_sha256 = MappingProxyType(
        {
            "train-images-idx3-ubyte": (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
            ),
            "train-labels-idx1-ubyte": (
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
            ),
            "t10k-images-idx3-ubyte": (
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
            ),
            "t10k-labels-idx1-ubyte": (
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
            ),
        }
    )


class IdxFashionMnist(_IdxBuilder, skip_registration=True):
    """Fashion-MNIST: 70,000 articles of clothing."""

    name = "idx_fashion_mnist"
    official = tfds.image_classification.FashionMNIST
    class_names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    data_sha256 = MappingProxyType(
        {
            "train-images-idx3-ubyte": (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
            ),
            "train-labels-idx1-ubyte": (
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
            ),
            "t10k-images-idx3-ubyte": (
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
            ),
            "t10k-labels-idx1-ubyte": (
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
            ),
        }
    )


class IdxKmnist(_IdxBuilder, skip_registration=True):
    """Kuzushiji-MNIST: 70,000 cursive Japanese characters."""

    name = "idx_kmnist"
    official = tfds.image_classification.KMNIST
    class_names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


def has_manual_dir(dl_manager: tfds.download.DownloadManager) -> bool:
    """Returns whether the user gave a `manual_dir` and it holds files."""
    try:
        return bool(dl_manager.manual_dir)
    except AssertionError:  # raised by TFDS if the folder is absent or empty
        return False


def find_files(folder: Path) -> dict[str, Path]:
    """Returns the paths of the four IDX files in `folder` by official name, or {} without any.

    Raises:
        InputError: some of the four are missing.
    """
    names = [name for pair in FILES.values() for name in pair]
    candidates = {name: [folder / f"{name}.gz", folder / name] for name in names}
    found = {n: next((p for p in paths if p.is_file()), None) for n, paths in candidates.items()}
    missing = [name for name, path in found.items() if path is None]
    if missing and len(missing) < len(names):
        raise InputError(f"{folder} lacks {', '.join(missing)} (.gz or not); put all four there")
    return {name: path for name, path in found.items() if path is not None}


def _unpacked(path: Path, archive: bytes, most: int) -> bytes:
    """The first `most` bytes of a file, decompressed if it is a gzip archive."""
    if archive[:2] != b"\x1f\x8b":
        return archive[:most]
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(archive)) as file:
            return file.read(most)  # up to its end, the archive's checksum is compared
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{printable(path)} is a damaged gzip archive ({error}); download it again"
        ) from error


def parse_idx(data: bytes, name: str) -> np.ndarray:
    """Returns the content of an IDX file of unsigned bytes, in the shape given by its header.

    Raises:
        InputError: the header is not that of unsigned bytes, or the length does not match it.
    """
    rank = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 and data[3] <= 4 else 0
    start = 4 + 4 * rank
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if not rank or len(data) <= start or len(data) - start != math.prod(shape):
        raise InputError(f"{name} is no IDX file of bytes: {len(data)} bytes, header {data[:4]!r}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _examples(images: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield row, {"image": image[:, :, None], "label": int(label)}
