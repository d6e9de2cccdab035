"""Opens the files written by `embed` with TensorBoard's server, and its page in a browser."""

import contextlib
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flaxae.commands import main as cli
from tests.fixtures.synthetic_run import COLORS, make_run, solid_images

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
)
POINTS, DIMENSIONS = 41, 24
PROJECTOR = "/data/plugin/projector"
# Returns all visible text of the page, including shadow roots.
TEXT = """() => {
  const parts = [];
  const walk = node => {
    if (node.nodeType === Node.TEXT_NODE) parts.push(node.textContent);
    if (node.nodeType === Node.ELEMENT_NODE && getComputedStyle(node).display === "none") return;
    if (node.shadowRoot) walk(node.shadowRoot);
    if (node.nodeName !== "STYLE") node.childNodes.forEach(walk);
  };
  walk(document.body);
  return parts.join(" ").replace(/\\s+/g, " ");
}"""


@contextlib.contextmanager
def tensorboard(logdir: Path, log: Path):
    """Runs TensorBoard on a free local port and yields its URL."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0"]
    with open(log, "w") as file:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--load_fast", "false"], stdout=file, stderr=file
        )
    try:
        yield wait_for(lambda: re.search(r"http://127\S+:\d+", log.read_text()), 60).group()
    finally:
        server.terminate()
        server.wait()


def wait_for(question, seconds=30.0, pause=time.sleep):
    """Calls `question` until its result is true, and returns the result."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = question()
        if answer:
            return answer
        pause(0.2)
    raise AssertionError(f"no result within {seconds} s")


def fetch(address: str, route: str, **arguments: str) -> bytes:
    query = urllib.parse.urlencode(arguments)
    with urllib.request.urlopen(f"{address}{PROJECTOR}/{route}?{query}", timeout=30) as response:
        return response.read()


@pytest.fixture
def exported(tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    splits = make_run(workdir, monkeypatch)
    assert cli.main(["embed", "--workdir", str(workdir)]) == 0
    return workdir, splits["test"]


@pytest.fixture
def of_a_folder(tmp_path, monkeypatch):
    """The export of 2,000 files in three sub-folders, which are their classes."""
    monkeypatch.setenv("FLAXAE_STORE_DIR", str(tmp_path / "store"))
    make_run(tmp_path / "run", monkeypatch)
    split = solid_images(2000)
    for row, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        folder = tmp_path / "images" / split.class_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{row}.png")
    words = ["--images", str(tmp_path / "images"), "--output-dir", str(tmp_path / "map")]
    assert cli.main(["embed", "--workdir", str(tmp_path / "run"), *words]) == 0
    return tmp_path / "map"


@pytest.mark.parametrize("place", ["workdir", "moved"])
def test_tensorboard_serves_every_file(exported, tmp_path, place):
    logdir, split = exported
    if place == "moved":
        logdir = (logdir / "embedding").rename(tmp_path / "moved")
    with tensorboard(logdir, tmp_path / "log.txt") as address:
        (run,) = wait_for(lambda: json.loads(fetch(address, "runs")))
        info = json.loads(fetch(address, "info", run=run))
        (embedding,) = info["embeddings"]
        name = embedding["tensorName"]
        assert embedding["tensorShape"] == [POINTS, DIMENSIONS]
        tensor = np.frombuffer(fetch(address, "tensor", run=run, name=name), np.float32)
        text = fetch(address, "metadata", run=run, name=name).decode()
        picture = Image.open(io.BytesIO(fetch(address, "sprite_image", run=run, name=name)))
    folder = logdir if place == "moved" else logdir / "embedding"
    vectors = np.loadtxt(folder / "vectors.tsv", dtype=np.float32)
    np.testing.assert_array_equal(tensor.reshape(POINTS, DIMENSIONS), vectors)
    assert text == (folder / "metadata.tsv").read_text()
    pixels = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(
        pixels[: split.images.shape[1], : split.images.shape[2]], split.images[0]
    )


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
@pytest.mark.parametrize(
    ("export", "points"), [("exported", POINTS), ("of_a_folder", 2000)], ids=["split", "folder"]
)
def test_thumbnails_in_the_browser_match_the_metadata(export, points, request, tmp_path):
    from playwright.sync_api import sync_playwright

    made = request.getfixturevalue(export)
    logdir = made[0] if isinstance(made, tuple) else made
    with tensorboard(logdir, tmp_path / "log.txt") as address, sync_playwright() as playwright:
        wait_for(lambda: json.loads(fetch(address, "runs")))
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            args=FLAGS.split(),
            viewport={"width": 1500, "height": 900},
        )
        page = browser.pages[0]
        page.goto(f"{address}/#projector")

        def shown(question):
            # Playwright processes the browser's events only while it waits.
            return wait_for(question, pause=lambda seconds: page.wait_for_timeout(1000 * seconds))

        frame = shown(lambda: page.frame(url="**/projector_binary.html"))
        said = shown(
            lambda: re.search(r"Points: ([1-9]\d*) .*Dimension: (\d+)", frame.evaluate(TEXT))
        )
        assert said.groups() == (str(points), str(DIMENSIONS))
        page.mouse.click(340, 850)  # on the background, which stops the initial rotation
        page.wait_for_timeout(2000)  # until the initial animation has ended
        turns = itertools.count()

        def clicked(color):
            # A click at the edge of a thumbnail may miss it, so each try clicks somewhere else.
            place = place_of(color, next(turns), screenshot(page))
            if place is not None:
                page.mouse.move(*place)
                page.mouse.click(*place)
                page.wait_for_timeout(500)
            return selected_class(frame)

        for color in [*COLORS, *COLORS, *COLORS]:
            assert shown(lambda: clicked(color)) == color  # noqa: B023
            frame.get_by_text("Clear selection").click()
            shown(lambda: not selected_class(frame))
        page.screenshot(path=tmp_path / "projector.png")
        browser.close()


def screenshot(page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def place_of(color: str, turn: int, pixels: np.ndarray) -> tuple[int, int] | None:
    """Returns the center of 9 x 9 pixels of a color, another one for each `turn`, or None."""
    left, top = 330, 190  # of the canvas without borders and buttons
    pixels = pixels[top:, left:1120]
    channel = list(COLORS).index(color)
    solid = pixels[..., channel] > np.delete(pixels, channel, axis=-1).max(axis=-1) + 60
    windows = np.lib.stride_tricks.sliding_window_view(solid, (9, 9)).all(axis=(2, 3))
    places = np.argwhere(windows)
    if not len(places):
        return None
    row, column = places[int(turn * 0.618 % 1 * len(places))]  # spread over all places
    return int(column) + left + 4, int(row) + top + 4


def selected_class(frame) -> str | None:
    """Returns the class shown for the selected point, or None if no point is selected."""
    found = re.search(r" class (\w+) reconstruction_error \d", frame.evaluate(TEXT))
    return found and found.group(1)
