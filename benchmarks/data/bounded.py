"""Makes a file of images, and trains on it in a process whose memory is limited."""

import contextlib
import math
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.common import device
from benchmarks.common.random_images import write_images
from benchmarks.common.report import Finding
from benchmarks.common.workers import in_process
from benchmarks.data import Bounded
from benchmarks.data.limit import memory_group, usage
from benchmarks.data.limited import drop_from_cache, train_limited
from flaxae.errors import InputError, RunError


def measure_bounded(settings: Bounded) -> Finding:
    """Trains; raises InputError for a disk that is too small, and RunError as `memory_group`."""
    if sys.platform != "linux":
        raise InputError("--bounded needs the control groups of Linux; run it there")
    described = device.describe_device()
    print(device.line(described), flush=True)
    shape = (settings.number, settings.side, settings.side, settings.channels)
    size, limit = math.prod(shape), int(settings.limit * 1e9)
    with contextlib.ExitStack() as stack:
        group = None
        try:
            group = stack.enter_context(memory_group(limit))
        except RunError as error:
            if not settings.smoke:
                raise
            print(f"without a limit: {error}")
        file = write(settings.files_dir, shape)
        name = stack.enter_context(tempfile.TemporaryDirectory(dir=settings.files_dir))
        drop_from_cache(file)
        if not settings.smoke:
            with contextlib.suppress(OSError):  # only root may; of all files, so not in a test
                Path("/proc/sys/vm/drop_caches").write_text("1")
        request = (group and str(group / "cgroup.procs"), file.absolute(), Path(name).absolute())
        found = in_process(train_limited, *request, settings.batch, settings.steps)
        found["group"] = usage(group) if group else None
    content = {"file_bytes": size, "limit_bytes": limit if group else None, **found}
    for key, value in content.items():
        print(f"{key}: {value}")
    process = f"a process limited to {limit / 1e9:g} GB" if group else "a process without a limit"
    shares = [f"{100 * found[f'{name}_share']:.1f} %" for name in ("idle", "waiting")]
    answer = (
        f"training on {size / 1e9:.3g} GB of images in {process} waits for them in "
        f"{shares[0]} to {shares[1]} of its time"
    )
    return Finding(described, answer, content, content)


def write(folder: Path, shape: tuple[int, ...]) -> Path:
    """The file of random images [N, H, W, C]; made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{'x'.join(map(str, shape))}.npy"
    size, free = math.prod(shape), shutil.disk_usage(folder).free
    if path.exists():
        return path
    if free < 1.1 * size:
        raise InputError(
            f"{folder} has {free / 1e9:.2f} GB free and the file takes {size / 1e9:.2f}; free "
            "some, or give another folder by --files-dir"
        )
    print(f"writing {path}", flush=True)
    scratch = path.with_suffix(".partial")
    write_images(scratch, shape)
    scratch.replace(path)
    return path
