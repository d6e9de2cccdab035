"""The page's HTML: templates, style and script in one file, and what a browser may do with it."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from flaxae.report.page.numbers import text

_FILES = Path(__file__).parent / "files"
_SCRIPTS = (
    "data",
    "colors",
    "nearest",
    "draw",
    "map",
    "details",
    "selection",
    "filters",
    "histogram",
    "examples",
    "main",
)


def render(template: str, values: dict[str, Any]) -> bytes:
    """The page of a template; all texts in `values` are escaped.

    `values["data"]` is for the script, and `values["blocks"]` are texts in base64.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FILES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = text
    style = _read("style.css")
    bodies = "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{bodies}}})();\n'
    found = environment.get_template(template).render(
        **values,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        json=Markup(_json(values["data"])),
    )
    return found.encode("utf-8", "backslashreplace")


def _policy(style: str, script: str) -> str:
    """The content security policy: nothing is fetched, and no script runs but the page's own."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _json(data: Any) -> str:
    """JSON in which no text can end the script element."""
    found = json.dumps(data, separators=(",", ":"))
    return found.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")
