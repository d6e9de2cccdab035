"""Opens the page of a run in headless Chromium, without a network."""

import csv
import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import NearestNeighbors

import flaxae
from flaxae.api.report import page as pages
from flaxae.evaluation.plane import lay_out
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.report.figures import reconstruction_grid
from flaxae.report.page.points import Measure, coordinates
from tests.export.test_browser import CHROMIUM, FLAGS
from tests.fixtures.synthetic_run import COLORS, make_run, solid_images

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"
)

EVIL = "<script>alert(1)</script>"
NAMES = (EVIL, "Green & <b>", "Blue")  # of the classes red, green and blue
POINTS = 60
LINE = {"train_loss": 0.5, "validation_loss": 0.6, "learning_rate": 0.01}


def file_name(row: int) -> str:
    return f'{row}-"<img src=x onerror=alert(1)>, ü.png'


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two epochs whose classes and files have names that a page must escape."""
    workdir = tmp_path_factory.mktemp("report") / EVIL.replace("/", "-") / "run"
    with pytest.MonkeyPatch.context() as patch:
        sizes = {"train": 60, "validation": 10, "test": POINTS}
        splits = {
            name: solid_images(size, NAMES, seed=size)._replace(
                files=tuple(file_name(row) for row in range(size))
            )
            for name, size in sizes.items()
        }
        splits["test"].labels[[5, 6]] = 0, 2  # so that neighbors are of another class
        make_run(workdir, patch, splits=splits)
        (workdir / "reconstructions").mkdir()
        rows = {n: splits["test"].images[:10] for n in ("input", "reconstruction")}
        for epoch in (1, 2):
            picture = reconstruction_grid(rows, f"epoch {epoch}")
            picture.save(workdir / "reconstructions" / f"epoch_{epoch:04d}.png")
            rows["reconstruction"] = 255 - rows["reconstruction"]
        run = flaxae.load(workdir)
        run.history = [{"epoch": epoch, **LINE} for epoch in (1, 2)]
        run.splits  # noqa: B018 - read while the dataset is patched
        yield run


@pytest.fixture(scope="module")
def written(run):
    return run.report()


@pytest.fixture
def opened(browser, written):
    """The page, and what it must not have: requests, messages on the console, dialogs."""
    yield from open_page(browser, written)


def open_page(browser, path: Path, width: int = 1280):
    context = browser.new_context(offline=True, viewport={"width": width, "height": 900})
    page = context.new_page()
    faults = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda r: r.url.startswith(("data:", "blob:")) or requests.append(r.url))
    requests = []
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    yield page
    assert faults == []
    assert requests == [path.as_uri()]
    context.close()


class Plane:
    """Where the points are on the screen before anybody moves the map."""

    def __init__(self, page, places):
        page.locator("#map").scroll_into_view_if_needed()
        self.page, self.box = page, page.locator("#map").bounding_box()
        size = np.array([self.box["width"], self.box["height"]])
        low, high = places.min(axis=0), places.max(axis=0)
        scale = ((size - 40) / np.maximum(high - low, 1)).min()
        self.inside = size / 2 + (places - (low + high) / 2) * scale

    def screen(self, point):
        x, y = self.inside[point]
        return self.box["x"] + x, self.box["y"] + y

    def alone(self):
        """The points that no other one is near to."""
        apart = np.linalg.norm(self.inside[:, None] - self.inside, axis=2)
        np.fill_diagonal(apart, np.inf)
        return np.flatnonzero(apart.min(axis=1) > 9)

    def pixels(self):
        picture = self.page.locator("#map").screenshot()
        return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


@pytest.fixture
def plane(opened, run):
    vectors = run.embedding("test").vectors
    return Plane(opened, coordinates(lay_out(vectors, umap=False).points).astype(float))


def solid_color(page, selector: str) -> str:
    """The color of a thumbnail, which is its class."""
    return [*COLORS][int(np.argmax(pixel_of(page, selector)))]


def pixel_of(page, selector: str) -> np.ndarray:
    """RGB of the pixel (6, 4) of a canvas; it is copied, since Chromium warns of reading twice."""
    script = """canvas => {
      const copy = new OffscreenCanvas(1, 1).getContext("2d");
      copy.drawImage(canvas, -6, -4);
      return [...copy.getImageData(0, 0, 1, 1).data];
    }"""
    until = time.monotonic() + 10
    while True:  # on a busy machine, a canvas that has a new size is empty for a while
        *color, alpha = page.locator(selector).evaluate(script)
        if alpha or time.monotonic() > until:
            return np.array(color)
        time.sleep(0.02)


def test_every_point_is_drawn_in_the_color_of_its_class(opened, plane, run):
    labels = run.splits["test"].labels
    palette = [(0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E), (0x2C, 0xA0, 0x2C)]
    pixels = plane.pixels()
    alone = plane.alone()
    assert len(alone) > 5
    for point in alone:
        x, y = plane.inside[point].round().astype(int)
        assert tuple(pixels[y, x]) == palette[labels[point]]
    counts = [(pixels == color).all(axis=2).sum() for color in palette]
    assert min(counts) > 8 * len(alone) / 3
    opened.locator("#legend button").nth(0).click()  # hides a class
    shown = int((labels != 0).sum())
    assert opened.locator("#shown").text_content() == f"{shown} of {POINTS} points shown"
    opened.wait_for_timeout(100)
    pixels = plane.pixels()
    assert not (pixels == palette[0]).all(axis=2).any()
    assert (pixels == palette[1]).all(axis=2).sum() >= counts[1]


def test_hover_shows_the_thumbnail_of_the_point(opened, plane, run):
    labels = run.splits["test"].labels
    for point in plane.alone()[:12]:
        opened.mouse.move(*plane.screen(point))
        opened.wait_for_function(
            "row => document.getElementById('tip-picture').dataset.shows === `thumbnails-${row}`",
            arg=int(point),
        )
        opened.wait_for_timeout(50)
        assert solid_color(opened, "#tip-picture") == [*COLORS][point % 3]
        text = opened.locator("#tip-text").text_content()
        assert text.startswith(file_name(point))
        assert f"class {NAMES[labels[point]]}" in text
    opened.mouse.move(plane.box["x"] - 20, plane.box["y"] + 5)
    assert opened.locator("#tip").is_hidden()


def test_a_click_shows_the_neighbors_that_scikit_learn_finds(opened, plane, run):
    vectors = run.embedding("test").vectors
    model = NearestNeighbors(n_neighbors=8).fit(vectors)
    expected = model.kneighbors(return_distance=False)
    labels = run.splits["test"].labels
    for point in plane.alone()[:4]:
        opened.mouse.click(*plane.screen(point))
        buttons = opened.locator("#details .neighbors button")
        assert opened.locator("#details").get_attribute("data-point") == str(point)
        found = [int(b.get_attribute("data-point")) for b in buttons.all()]
        assert found == expected[point].tolist()
        texts = [button.locator("span").all_text_contents() for button in buttons.all()]
        assert texts == [[NAMES[labels[row]], file_name(row)] for row in found]
        assert opened.locator("#details figure").count() == 3
        size = opened.locator("#error-map").evaluate("c => [c.width, c.height]")
        assert size == [12, 8]
    opened.locator("#details .neighbors button").nth(2).click()
    assert opened.locator("#details").get_attribute("data-point") == str(found[2])


def test_the_lasso_saves_what_is_inside(opened, plane, run):
    places = plane.inside
    # A band with points at both sides of it.
    first, last = np.quantile(places[:, 0], [0.3, 0.7]) + 0.01
    chosen = np.flatnonzero((places[:, 0] > first) & (places[:, 0] < last))
    assert 10 < len(chosen) < POINTS - 20
    left, top, bottom = plane.box["x"], plane.box["y"], plane.box["height"] - 2
    corners = [(first, 2), (last, 2), (last, bottom), (first, bottom)]
    opened.locator("#lasso").click()
    opened.mouse.move(left + first, top + 2)
    opened.mouse.down()
    for x, y in corners[1:]:
        opened.mouse.move(left + x, top + y)
    opened.mouse.up()
    assert f"{len(chosen)} points chosen" in opened.locator("#selection-count").text_content()
    with opened.expect_download() as download:
        opened.locator("#save").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["row"]) for row in rows] == chosen.tolist()
    errors = run.embedding("test").errors
    for row, point in zip(rows, chosen, strict=True):
        assert row["file"] == file_name(point)
        assert row["class"] == NAMES[run.splits["test"].labels[point]]
        assert float(row["error"]) == pytest.approx(float(errors[point]))


def test_a_cell_of_the_confusion_matrix_filters_the_map(opened):
    cells = opened.locator("#confusion button")
    total = 0
    for cell in cells.all():
        count = int(cell.text_content())
        cell.click()
        assert opened.locator("#shown").text_content() == f"{count} of {POINTS} points shown"
        total += count
    assert total == POINTS
    assert cells.count() > 3  # not only the diagonal
    cells.last.click()  # once more: all
    assert opened.locator("#shown").text_content() == f"{POINTS} of {POINTS} points shown"


def test_the_histogram_filters_by_its_threshold(opened, run):
    errors = run.embedding("test").errors
    opened.locator("#threshold-error").fill("500")
    threshold = errors.min() + (errors.max() - errors.min()) / 2
    count = int((errors >= threshold).sum())
    assert (
        f"{count} of {POINTS} points at or above"
        in opened.locator("#histogram-error").text_content()
    )
    opened.locator("#only-error").check()
    assert opened.locator("#shown").text_content() == f"{count} of {POINTS} points shown"
    opened.locator("#list-shown").click()
    assert f"{count} points chosen" in opened.locator("#selection-count").text_content()
    opened.locator("#show-all").click()
    assert opened.locator("#shown").text_content() == f"{POINTS} of {POINTS} points shown"


def test_the_handle_of_the_scores_starts_at_the_threshold(opened, run):
    scores = run.score(run.splits["test"])
    said = opened.locator("#histogram-score output").text_content()
    threshold = scores.threshold.value
    if threshold is None:  # too few normal images for the rate
        assert said.endswith(f"1 of {POINTS} points at or above")
        return
    count = int((scores.values >= threshold).sum())
    assert said.endswith(f"{count} of {POINTS} points at or above")


def test_the_page_is_usable_by_keyboard(opened):
    opened.locator("#map").focus()
    opened.keyboard.press("ArrowRight")
    first = opened.locator("#said").text_content()
    assert "reconstruction error" in first
    for key in ("ArrowLeft", "ArrowDown", "ArrowUp", "+", "Shift+ArrowLeft", "-"):
        opened.keyboard.press(key)
    assert opened.locator("#said").text_content()
    opened.keyboard.press("Enter")
    assert (
        opened.locator("#details h3").first.text_content() in opened.locator("#said").text_content()
    )


def test_the_slider_shows_the_examples_of_each_epoch(opened):
    said = opened.locator("#examples-text")
    assert said.text_content() == "epoch 2, validation loss 0.6000"
    last = pixel_of(opened, "#examples-picture")
    opened.locator("#examples-epoch").fill("0")
    assert said.text_content() == "epoch 1, validation loss 0.6000"
    first = pixel_of(opened, "#examples-picture")
    np.testing.assert_allclose(first + last, 255, atol=24)  # the second is the negative


def test_names_are_text_and_never_markup(opened, written):
    assert opened.locator("h1").text_content() == "run"
    assert opened.get_by_role("button", name=EVIL, exact=True).count() == 1
    assert opened.locator("main img:not(.pixels), main script, main b").count() == 0
    assert (
        "<script>alert(1)<-" in opened.locator("#config").text_content()
    )  # in the path of the workdir
    text = written.read_text(encoding="utf-8")
    assert EVIL not in text
    block = text.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert not set("<>&") & set(block)  # so that no name can end it


def test_the_worst_and_the_best_are_in_order(opened, run):
    errors = run.embedding("test").errors
    for name, expected in (("worst", np.sort(errors)[::-1]), ("best", np.sort(errors))):
        buttons = opened.locator(f"#{name} button").all()
        found = [int(button.get_attribute("data-point")) for button in buttons]
        np.testing.assert_allclose(errors[found], expected[:32], rtol=1e-5)


def test_nothing_is_wider_than_a_phone(browser, written):
    for page in open_page(browser, written, width=360):
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_dark_page_is_printed_on_white(browser, written):
    for page in open_page(browser, written):
        page.emulate_media(color_scheme="dark")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert pixel_of(page, "#map").tolist() == [255, 255, 255]
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert pixel_of(page, "#map").max() < 40


def test_the_policy_allows_nothing_but_the_pages_own(written):
    text = written.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-")
    assert "unsafe" not in policy
    outside = re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)
    assert outside == []


def test_two_numbers_are_decoded_under_the_pointer(browser, tmp_path, monkeypatch):
    make_run(tmp_path / "two", monkeypatch, FullyConnectedConfig(hidden_units=(8,), latent_dim=2))
    run = flaxae.load(tmp_path / "two")
    scores = np.arange(111, dtype=np.float32)  # more than the error, and with a threshold

    error = Measure("error", "error", "", run.embedding("all").errors)
    score = Measure("score", "score", "", scores, 100.25)
    monkeypatch.setattr(pages, "_measures", lambda *_: [error, score])
    for page in open_page(browser, run.report(split="all")):
        page.locator("#map").hover()
        page.wait_for_function("document.getElementById('tile').dataset.shows")
        corner = run.decode(np.zeros((1, 2), np.float32))
        assert corner.shape == (1, 8, 12, 3)
        shows = page.locator("#tile").get_attribute("data-shows")
        assert re.fullmatch(r"tiles-\d+", shows)
        page.locator("#color-by").select_option("split")
        assert page.locator("#legend").text_content() == "trainvalidationtest"
        page.locator("#color-by").select_option("error")
        assert page.locator("#legend canvas").count() == 1
        handle = page.locator("#threshold-score")
        assert "the run's is 100.2500" in page.locator("label[for=threshold-score]").text_content()
        said = page.locator("#histogram-score output")
        assert said.text_content() == "100.2500: 10 of 111 points at or above"
        handle.press("ArrowRight")
        assert said.text_content().startswith("100.3")
        page.locator("#only-score").check()
        assert page.locator("#shown").text_content() == "10 of 111 points shown"


def test_runs_are_compared(browser, run, tmp_path, monkeypatch):
    from flaxae.api.report.comparison import write_comparison

    make_run(tmp_path / "other", monkeypatch, ConvolutionalConfig(filters=(3,)), dict(run.splits))
    runs = [run, flaxae.load(tmp_path / "other")]
    path = write_comparison(runs, tmp_path / "both.html", "test", overwrite=False)
    for page in open_page(browser, path):
        rows = {
            r.locator("th").text_content(): r.locator("td").all_text_contents()
            for r in page.locator("tbody tr").all()
        }
        assert rows["--filters"] == ["4 4", "3"]
        assert "--seed" not in rows
        mse = [float(text) for text in rows["MSE"]]
        assert mse == pytest.approx([r.evaluate("test")["mse"] for r in runs], rel=1e-3)
        assert page.locator("img.pixels").count() == 3  # the images once
        assert page.locator("polyline").count() == 2
