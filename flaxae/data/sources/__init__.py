"""Sources of images: one module each, and the table of their names.

A source is an object with `name`, `splits()` and `digest()`. `SOURCES` maps the name of a dataset
to a function `(DataConfig) -> Source`, or to where to find it as "module:function". Every other
name is looked up in TFDS. A user may add to the table.
"""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from flaxae.data import ARRAY_SUFFIXES, DataConfig, is_path
from flaxae.data.file_names import printable
from flaxae.errors import InputError, absolute_path

if TYPE_CHECKING:
    from flaxae.data.splits import Shape, Split


@runtime_checkable
class Source(Protocol):
    """Where the images of a run come from."""

    name: str

    def splits(self) -> "Mapping[str, Split]":
        """The splits train, validation and test; class names and targets are in each of them."""
        ...

    def digest(self) -> str | None:
        """A sha256 of the images, so that a run cannot continue with others; None: unchecked."""
        ...


SOURCES: dict[str, str | Callable[[DataConfig], Source]] = {
    "array": "flaxae.data.sources.array:missing",
}

# Name on the command line -> folder of the prepared dataset below data_dir. The IDX datasets carry
# a prefix because TFDS has builders of the same names, whose folders must not be mixed with ours.
# The versions are here so that a dataset that was decoded before is found without importing TFDS.
OWN_DATASETS = {
    "mnist_5k": "mnist_5k/1.0.0",
    "mnist": "idx_mnist/1.0.0",
    "fashion_mnist": "idx_fashion_mnist/1.0.0",
    "kmnist": "idx_kmnist/1.0.0",
}


# What is in a file or a folder, and where the rest is looked up.
_ARRAYS = "flaxae.data.sources.stored_arrays:source"
_FOLDER = "flaxae.data.sources.folder:source"
_NAMES = "flaxae.data.sources.tfds:TfdsSource"


def open_source(config: DataConfig) -> Source:
    """The source of the dataset that `config` names; imports its module if need be."""
    form = _by_form(config.dataset)
    if config.dataset not in SOURCES:
        refuse_unused(config, form)
    entry = SOURCES.get(config.dataset, form)
    make = pkgutil.resolve_name(entry) if isinstance(entry, str) else entry
    return make(config)


FROM_PYTHON = "images from Python"
_KINDS = {_FOLDER: "a folder of images", _ARRAYS: "an array file", _NAMES: "a dataset by name"}
# Options of files -> what can have them; the others are for every dataset.
_OF_FILES = ("image_size", "channels", "fit", "background", "labels", "targets")
_FOR = {name: (_FOLDER,) for name in _OF_FILES} | {
    "images_key": (_ARRAYS,),
    "labels_key": (_ARRAYS,),
    "range": (_FOLDER, _ARRAYS),
}


def refuse_unused(config: DataConfig, form: str) -> None:
    """Raises InputError for an option that the dataset, or images `FROM_PYTHON`, would ignore."""
    default = DataConfig()
    for name, forms in _FOR.items():
        if form not in forms and getattr(config, name) != getattr(default, name):
            wanted = " or ".join(_KINDS[each] for each in forms)
            flag = f"--{name.replace('_', '-')}"
            if form == _NAMES and config.dataset not in OWN_DATASETS:
                raise InputError(
                    f"{config.dataset} is no file or folder here, so it is taken for a dataset by "
                    f"name, and {flag} is for {wanted}; correct --dataset, or leave {flag} out"
                )
            came = f"{config.dataset} is {_KINDS[form]}" if form in _KINDS else f"these are {form}"
            raise InputError(f"{flag} is for {wanted}, and {came}; leave it out")


def _by_form(dataset: str) -> str:
    if not is_path(dataset):
        return _NAMES
    return _ARRAYS if dataset.lower().endswith(ARRAY_SUFFIXES) else _FOLDER


def resolve_dataset(dataset: str) -> str:
    """The dataset as a run keeps it: a path becomes absolute, a name stays.

    Raises:
        InputError: a folder and a dataset have this name.
    """
    path = absolute_path(dataset, "--dataset")
    if is_path(dataset):
        return str(path)
    if dataset in SOURCES or not path.exists():
        return dataset
    if _is_known_name(dataset):
        raise InputError(
            f"--dataset got {dataset}, which is a dataset and a file or folder here; give "
            f"./{dataset} for the files, or tfds:{dataset} for the dataset"
        )
    return str(path)


def open_images(path: str, config: DataConfig, shape: "Shape") -> "Split":
    """All images of a folder, an image or an array file, in the shape of a run's images.

    Raises:
        InputError: there are none, or arrays have another shape.
    """
    from flaxae.data.sources.folder import open_listed
    from flaxae.data.sources.listing import list_images
    from flaxae.data.sources.stored import whole
    from flaxae.data.sources.stored_arrays import open_arrays, without_absent_keys

    if not path:
        raise InputError("images got ''; expected a folder or file of images")
    absolute = str(absolute_path(path, "--images"))
    # Whoever looks at images leaves out those that cannot be read, however many.
    own = {"labels": None, "targets": None, "bad_files": 1.0, "dataset": absolute}
    if absolute.lower().endswith(ARRAY_SUFFIXES):
        contents = open_arrays(without_absent_keys(replace(config, **own)))
    else:
        size = {"image_size": shape[:2], "channels": shape[2]}
        contents = open_listed(replace(config, **own, **size), list_images(Path(absolute)))
    split = whole(contents)
    if split.image_shape != shape:
        came, expected = ("x".join(map(str, each)) for each in (split.image_shape, shape))
        raise InputError(f"{printable(absolute)} has images of {came}; this run has {expected}")
    return split


def _is_known_name(dataset: str) -> bool:
    if dataset in OWN_DATASETS:
        return True
    import tensorflow_datasets as tfds  # takes a second, and only where a file has such a name

    return dataset in tfds.list_builders(with_community_datasets=False)
