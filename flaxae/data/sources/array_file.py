"""Which arrays of an .npy or .npz file hold the images and labels of each split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flaxae.data.file_names import printable
from flaxae.data.sources.array_pixels import bracketed, require_image_shape, require_numbers
from flaxae.data.sources.array_reading import ArrayFile, list_arrays
from flaxae.errors import InputError

_SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
NO_LABELS = "none"  # as a key
_MOST_ROWS = 2**31 - 1  # the rows of a split are int32
_MOST_IMAGE = 2**28  # bytes


def find_arrays(
    path: Path, images_key: str | None, labels_key: str | None
) -> dict[str, tuple[ArrayFile, ArrayFile | None]]:
    """The images and labels of each split in an .npy or .npz; of {"all": ...} if it has no splits.

    An .npz has splits if it has train_images or x_train; validation (or val) and test are named
    alike, and so are their labels: train_labels, y_train. Without splits, `images_key` names the
    images, else they are `images`, `x`, `arr_0` or the only array of 3 or 4 dimensions; and
    `labels_key` the labels, else they are `labels` or `y`. The `labels_key` "none" takes
    none.
    Names that are not given may have capitals, as X_train.

    Raises:
        InputError: the file cannot be read, or which array holds the images is not clear; the
            message has the names and shapes.
    """
    arrays = list_arrays(path)
    if None in arrays:
        if images_key or labels_key:
            raise InputError(
                f"{printable(path)} is one array without a name; leave out --images-key and "
                "--labels-key, which are for .npz files"
            )
        return {"all": (_as_images(arrays[None]), None)}
    named = {name: array for name, array in arrays.items() if name is not None}
    splits = {} if images_key else _find_splits(named)
    if not splits:
        name = _images_name(path, named, images_key)
        images = _as_images(named[name])
        return {"all": (images, _find_labels(named, name, images, labels_key))}
    if labels_key not in (None, NO_LABELS):
        raise InputError(
            f"--labels-key got {printable(labels_key)}, but {printable(path)} holds splits, "
            "whose labels are named like train_labels or y_train; give --images-key too"
        )
    pairs = {}
    for split, name in splits.items():
        images = _as_images(named[name])
        pairs[split] = images, _find_labels(named, name, images, labels_key)
    sizes = {split: images.shape[1:] for split, (images, _) in pairs.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"{printable(path)} holds splits with images of the shapes {sizes}; expected one"
        )
    return pairs


def _find_splits(named: Mapping[str, ArrayFile]) -> dict[str, str]:
    """The name of the images of each split; {} without images of train."""
    found: dict[str, str] = {}
    for split, aliases in _SPLIT_NAMES.items():
        names = _matching(named, [key for a in aliases for key in _keys(a, "images", "x")])
        names += [n for n in _matching(named, aliases) if len(named[n].shape) in (3, 4)]
        if len(names) > 1:
            raise InputError(
                f"the images of the split {split} can be {' or '.join(map(printable, names))}; "
                "expected one of them: save the file again, or take one by --images-key"
            )
        if names:
            found[split] = names[0]
    if "train" not in found:
        return {}
    whole = _matching(named, ("images", "x", "arr_0"))
    if whole:
        raise InputError(
            f"the file holds {printable(whole[0])} and the split {printable(found['train'])}; "
            "expected one of both: save the file again, or take one by --images-key"
        )
    return found


def _images_name(path: Path, named: Mapping[str, ArrayFile], images_key: str | None) -> str:
    if images_key:
        names = [images_key] if images_key in named else []
    else:
        names = _matching(named, ("images", "x", "arr_0"))[:1]
        names = names or [name for name, array in named.items() if len(array.shape) in (3, 4)]
    if len(names) == 1:
        return names[0]
    reason = f"no {printable(images_key)}" if images_key else "no or several arrays of images"
    raise InputError(
        f"{printable(path)} holds {reason}; it has {_listed(named)}; call one of them "
        "images, or train with its name as --images-key"
    )


def _find_labels(
    named: Mapping[str, ArrayFile], images_name: str, images: ArrayFile, labels_key: str | None
) -> ArrayFile | None:
    """The labels that belong to the images; None if there are none."""
    if labels_key == NO_LABELS:
        return None
    if labels_key is not None:
        names = [labels_key] if labels_key in named else []
        if not names:
            raise InputError(
                f"--labels-key got {printable(labels_key)}; expected one of {_listed(named)}"
            )
    else:
        parts = images_name.lower().split("_")
        aliases = [a for names in _SPLIT_NAMES.values() for a in names if a in parts]
        names = _matching(named, _keys(aliases[0], "labels", "y") if aliases else ("labels", "y"))
    if not names:
        return None
    labels = named[names[0]]
    count = images.shape[0]
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "biufUS":
        raise InputError(
            f"{labels.title} is {_form(labels)}; expected one number or name for each of "
            f"{count} images, or --labels-key none"
        )
    return labels


def _keys(alias: str, *words: str) -> list[str]:
    return [key for word in words for key in (f"{alias}_{word}", f"{word}_{alias}")]


def _matching(named: Mapping[str, ArrayFile], keys: Sequence[str]) -> list[str]:
    """The names that are one of the keys but for capitals, in the order of the keys."""
    return [name for key in keys for name in named if name.lower() == key]


def _as_images(array: ArrayFile) -> ArrayFile:
    """The array itself; raises InputError if it cannot be images."""
    what = array.title
    require_numbers(array.dtype, what)
    require_image_shape(array.shape, what)
    if not 1 <= array.shape[0] <= _MOST_ROWS:
        raise InputError(f"{what} holds {array.shape[0]} images; expected 1 to {_MOST_ROWS}")
    if array.row_bytes > _MOST_IMAGE:
        raise InputError(
            f"{what} holds images of {array.row_bytes} bytes; expected at most {_MOST_IMAGE}"
        )
    if array.fortran:
        raise InputError(
            f"{what} is stored in Fortran order; expected C order: save numpy.ascontiguousarray(x)"
        )
    return array


def _form(array: ArrayFile) -> str:
    return f"{bracketed(array.shape)} {printable(array.dtype)}"


def _listed(named: Mapping[str, ArrayFile]) -> str:
    """The first arrays with their shapes and types."""
    shown = [f"{printable(name)} {_form(array)}" for name, array in list(named.items())[:8]]
    return ", ".join([*shown, *(["..."] if len(named) > 8 else [])]) or "no arrays"
