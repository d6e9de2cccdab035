"""What a benchmark leaves behind: one sentence, a JSON file, and a picture."""

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from benchmarks.common import device
from benchmarks.common.figure import to_png
from flaxae.data.atomic import write_atomically


class Finding(NamedTuple):
    """What a benchmark found."""

    device: Mapping[str, Any]  # of `device.describe_device`
    sentence: str  # the answer, without the device and the full stop
    content: Mapping[str, Any]  # the report's entries beside those that every report has
    brief: Mapping[str, Any]  # the entries of the last line of output
    figure: Figure | None = None
    title: str = ""  # of the figure
    failure: str = ""  # what could not be measured; the rest is published, with exit status 1


def publish(question: str, settings: Mapping[str, Any], finding: Finding) -> None:
    """Prints the answer, writes <question>-<device>[-smoke].json and .png, and prints their paths.

    The last line of output is one JSON object. A smoke run overwrites no result.
    """
    answer = sentence(finding.sentence, finding.device, settings["smoke"])
    print(f"\n{answer}\n")
    kind = finding.device["kind"]
    head = {"benchmark": question, "sentence": answer}
    report = head | {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": finding.device,
        "software": device.describe_software(),
        # Results are published, folders are not.
        "settings": {key: v for key, v in settings.items() if not key.endswith("dir")},
        **finding.content,
    }
    name = f"{question}-{device.name_for_files(kind)}{'-smoke' if settings['smoke'] else ''}"
    files = [("results", "json", to_text(plain(report)).encode())]
    if finding.figure is not None:
        title = f"{finding.title} on {device.name(finding.device)}"
        files.append(("picture", "png", to_png(finding.figure, title, answer)))
    paths = {}
    for what, ending, content in files:
        path = settings["output_dir"] / f"{name}.{ending}"
        write_atomically(path, content)
        paths[what] = str(path)
        print(what, path)
    print(json.dumps(head | {"device": kind, **plain(finding.brief), **paths}))


def sentence(answer: str, described: Mapping[str, Any], smoke: bool) -> str:
    """The answer as a sentence that names the device."""
    warning = "; a smoke run is too short to support this" if smoke else ""
    return f"On {device.name(described)}, {answer}{warning}."


def plain(value: Any) -> Any:
    """Named tuples as dictionaries, recursively: JSON then keeps the names of their fields."""
    value = value._asdict() if hasattr(value, "_asdict") else value
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def to_text(report: Any) -> str:
    """Indented JSON with each list of numbers on one line."""
    lists = re.compile(r"\[\s+([-+.\de]+(?:,\s+[-+.\de]+)*)\s+\]")
    text = json.dumps(report, indent=1)
    return lists.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"
