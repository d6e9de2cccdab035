"""Looks at a page in headless Chromium: when it is ready, how fast it draws and answers."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.report import Settings
from flaxae.errors import RunError

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
# Milliseconds from the start of the navigation until the page can be used.
_READY = """most => new Promise((resolve, reject) => {
  const look = () => {
    if (document.documentElement.dataset.ready || window.bokehReady) resolve(performance.now());
    else if (performance.now() > most) reject(new Error(`not ready after ${most} ms`));
    else setTimeout(look, 4);
  };
  look();
})"""
_PATIENCE = 60_000  # milliseconds for a page of 70,000 points on a busy machine
# Milliseconds from a pointer event until the thumbnail of the point is drawn, at places all over
# the map; places where no point is near are left out.
_HOVER = """async count => {
  const map = document.getElementById("map");
  const tip = document.getElementById("tip");
  const picture = document.getElementById("tip-picture");
  const box = map.getBoundingClientRect();
  const found = [];
  for (let n = 1; found.length < count && n < 50 * count; n++) {
    const [x, y] = [(0.6180339887 * n) % 1, (0.7548776662 * n) % 1];
    picture.dataset.drawn = "";
    const start = performance.now();
    map.dispatchEvent(new PointerEvent("pointermove", {
      clientX: box.left + x * box.width, clientY: box.top + y * box.height, pointerId: 1,
    }));
    if (tip.hidden || picture.hidden) continue;
    while (picture.dataset.drawn !== picture.dataset.shows) {
      if (performance.now() - start > 2000) break;
      await new Promise(resolve => { const c = new MessageChannel();
        c.port1.onmessage = resolve; c.port2.postMessage(0); });
    }
    found.push(Math.round(10 * (performance.now() - start)) / 10);
  }
  return found;
}"""
_DRAW = """async count => {
  performance.clearMeasures("draw");
  for (let n = 0; n < count; n++) {
    document.getElementById(n % 2 ? "zoom-in" : "zoom-out").click();
    await new Promise(requestAnimationFrame);
    await new Promise(resolve => setTimeout(resolve));
  }
  return performance.getEntriesByName("draw").map(entry => entry.duration);
}"""


class Seen(NamedTuple):
    """What was seen of a page."""

    ready_s: float  # from opening it until it can be used
    draw_ms: list[float]  # of all points; empty if the page does not tell
    hover_ms: list[float]  # from the pointer to the thumbnail
    runs_under_policy: bool  # that allows no network and no code made of text
    violations: list[str] | None  # rules of axe-core; None if it was not asked


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The system's Chromium."""
    from playwright.sync_api import sync_playwright

    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    path = next(found, None)
    if path is None:
        raise RunError("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


def look_at(browser: Any, path: Path, settings: Settings) -> Seen:
    """Opens the page without a network and measures it."""
    page = _page(browser, color_scheme="light")
    page.goto(path.absolute().as_uri())
    ready = page.evaluate(_READY, _PATIENCE) / 1e3
    is_own = page.locator("#map").count() == 1
    if is_own:
        page.locator("#map").scroll_into_view_if_needed()
    draws = page.evaluate(_DRAW, settings.draws) if is_own else []
    hovers = page.evaluate(_HOVER, settings.hovers) if is_own else []
    page.context.close()
    violations = None
    if settings.axe_dir is not None:
        script = (settings.axe_dir / "axe.min.js").read_text(encoding="utf-8")
        violations = sorted({v for s in ("light", "dark") for v in _axe(browser, path, script, s)})
    return Seen(ready, draws, hovers, _runs_under_policy(browser, path), violations)


def _runs_under_policy(browser: Any, path: Path) -> bool:
    """Whether the page works where scripts may not make code of text, as `eval` does."""
    text = path.read_text(encoding="utf-8")
    tag = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    strict = path.with_name(f"strict-{path.name}")
    strict.write_text(text.replace("<head>", f"<head>{tag}", 1), encoding="utf-8")
    page = _page(browser)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.goto(strict.absolute().as_uri())
    is_ready = False
    with contextlib.suppress(Exception):  # a page that never gets ready
        is_ready = bool(page.evaluate(_READY, _PATIENCE / 4))
    page.context.close()
    strict.unlink()
    return is_ready and not faults


def _axe(browser: Any, path: Path, script: str, scheme: str) -> list[str]:
    page = _page(browser, color_scheme=scheme, bypass_csp=True)  # for axe-core itself
    page.goto(path.absolute().as_uri())
    page.evaluate(_READY, _PATIENCE)
    if page.locator("#worst button").count():
        page.locator("#worst button").first.click()  # so that there are details
        page.locator("#list-shown").click()
    page.evaluate(script)
    found = page.evaluate("axe.run().then(result => result.violations.map(v => v.id))")
    page.context.close()
    return found


def _page(browser: Any, **options: Any) -> Any:
    size = {"width": 1280, "height": 900}
    return browser.new_context(offline=True, viewport=size, **options).new_page()
