"""The projector's config in a run's folder, where TensorBoard finds it.

TensorBoard reads the config only in a folder with event files, and only files below that folder.
"""

from pathlib import Path

from flaxae.data.atomic import write_atomically
from flaxae.export import projector


def forget_config(workdir: Path, output: Path) -> None:
    """Removes the config before the files that it describes change.

    An export outside the workdir changes none of them, and writes nothing in the workdir.
    """
    if output.is_relative_to(workdir.resolve()):
        (workdir / projector.PBTXT).unlink(missing_ok=True)


def link_config(workdir: Path, output: Path, tensor: projector.Tensor) -> bool:
    """Writes the config if the export `output` is inside the workdir; whether it is."""
    inside = output.is_relative_to(workdir.resolve())
    if inside:
        folder = str(output.relative_to(workdir.resolve()))
        write_atomically(workdir / projector.PBTXT, projector.config_pbtxt(tensor, folder).encode())
    return inside
