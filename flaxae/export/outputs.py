"""Output files: what may be replaced, and how flaxae marks what it has written.

A picture is marked in its metadata, and a page in its head, so that a later call can tell it from
a stranger's.
"""

import contextlib
import io
import os
import stat
from collections.abc import Collection
from pathlib import Path

from PIL import Image
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo

from flaxae.data.file_names import printable
from flaxae.data.image_headers import BadImage, open_image
from flaxae.errors import InputError, RunError

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
PAGE = ".html"
_MARK = "flaxae"
_PAGE_MARK = b'<meta name="generator" content="flaxae">'
_HEAD = 512  # bytes of a page, within which its mark is
_MOST_PIXELS = 2**40  # only headers are read
_KEPT = (
    "checkpoints",
    "embedding",
    "evaluation",
    "reference",
    "scores",
)  # folders of a run whose files belong together
_OF_A_RUN = ("checkpoints", "dataset.json")  # a folder with config.json and one of these is a run


def file_target(
    name: str | Path,
    flag: str,
    *,
    overwrite: bool,
    own_place: bool,
    suffixes: Collection[str] = tuple(FORMATS),
) -> Path:
    """The resolved path of a picture file, or another one by `suffixes`, that may be written.

    `own_place` tells that nobody but flaxae writes there, so that pictures of earlier versions,
    which have no mark, are replaced too. `flag` names the option in messages.

    Raises:
        InputError: it is a device, a pipe, a folder, a file of a run or of somebody else, its
            folder cannot be written, or its suffix names no format.
    """
    try:
        # Resolved, so that a link stays a link, and the file that it points to is replaced.
        path = Path(name).expanduser().absolute()
        require_replaceable(path, flag, overwrite=overwrite, own_place=own_place)
        path = path.resolve()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{flag} got {printable(name)}: {reason}; give another file") from error
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"{flag} got {printable(name)}; expected a name that ends in {', '.join(suffixes)}"
        )
    _require_writable_folder(path, flag)
    return path


def require_replaceable(path: Path, flag: str, *, overwrite: bool, own_place: bool = False) -> None:
    """Raises InputError unless `path` is absent or a file that may be replaced.

    That is a picture with flaxae's mark, and with `overwrite` any file that no run needs.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
        raise InputError(f"{flag} got {printable(path)}, {kind}; give the name of a file")
    if own_place:
        return
    run = _run_of(path)
    is_kept = run is not None and path.resolve().relative_to(run).parts[0] in _KEPT
    if is_marked(path) and not is_kept:
        return
    if run is not None:
        raise InputError(
            f"{flag} got {printable(path)}, a file of the run {printable(run)}; give another name"
        )
    if not overwrite:
        raise InputError(
            f"{printable(path)} was not written by flaxae; give another {flag}, or --overwrite to "
            "replace it"
        )


def require_outside(folder: Path, *sources: str | None, flag: str = "--output-dir") -> None:
    """Raises InputError, which names `flag`, for a folder that is or lies in one of images."""
    for source in filter(None, sources):
        if folder.resolve().is_relative_to(os.path.realpath(os.path.expanduser(source))):
            raise InputError(
                f"{flag} got {printable(folder)}, in the images' folder {printable(source)}; "
                "give another, because pictures there would be taken for images"
            )


def encoded(picture: Image.Image, form: str) -> bytes:
    """The picture as a marked file in one of FORMATS.

    Raises:
        InputError: it is too large for the format.
    """
    buffer = io.BytesIO()
    try:
        if form == "PNG":
            picture.save(buffer, form, optimize=True, pnginfo=png_mark())
        else:
            exif = Image.Exif()
            exif[Base.Software] = _MARK
            picture.save(buffer, form, quality=95, lossless=True, exif=exif)  # lossless: of WebP
    except (OSError, ValueError) as error:
        size = f"{picture.width} x {picture.height} pixels"
        raise InputError(
            f"a picture of {size} cannot be a {form} file ({error}); give a name that ends in "
            ".png, or fewer --examples"
        ) from error
    return buffer.getvalue()


def png_mark() -> PngInfo:
    """The text chunk that tells that flaxae has written a PNG."""
    text = PngInfo()
    text.add_text("Software", _MARK)
    return text


def is_marked(path: Path) -> bool:
    """Whether flaxae has written this PNG, JPEG, WebP or HTML file: it says so itself."""
    try:
        with open(path, "rb") as file:
            if _PAGE_MARK in file.read(_HEAD):
                return True
    except OSError:
        return False
    try:
        with open_image(path, _MOST_PIXELS) as (image, *_):
            found = image.info.get("Software") or image.getexif().get(Base.Software)
            return found == _MARK
    except BadImage:
        return False


def write_new(path: Path, content: bytes, flag: str) -> None:
    """Writes a file that is complete or absent, in a folder that is made if need be.

    Raises:
        RunError: it cannot be written, as on a full disk; no new folder is left.
    """
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except BaseException as error:
        for parent in missing:
            with contextlib.suppress(OSError):  # another process may have put files there
                parent.rmdir()
        if not isinstance(error, OSError):
            raise
        raise RunError(
            f"{printable(path)} could not be written ({error.strerror or error}); make room there "
            f"and repeat the command, or give another {flag}"
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes a temporary file, then renames it: half a picture would be taken for a stranger's."""
    scratch = path.with_name(f".{os.getpid()}.flaxae-partial")
    try:
        scratch.write_bytes(content)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _require_writable_folder(path: Path, flag: str) -> None:
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir():
        raise InputError(f"{flag} got {printable(path)}, below the file {printable(folder)}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"{flag} got {printable(path)}, and {printable(folder)} cannot be written; give a file "
            "in another folder"
        )


def _run_of(path: Path) -> Path | None:
    """The folder of the run that the file belongs to."""
    for folder in path.resolve().parents:
        if (folder / "config.json").is_file() and any((folder / n).exists() for n in _OF_A_RUN):
            return folder
    return None
