"""The same map by Bokeh, as far as a scatter plot goes: zoom, pan, lasso, and a tooltip of text."""

from typing import Any

import numpy as np

_TEMPLATE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>map</title>{script}
<script>Bokeh.documents.length; document.addEventListener("DOMContentLoaded", () => {{
const wait = () => Bokeh.index.roots?.length || Object.keys(Bokeh.index).length
  ? (window.bokehReady = true) : setTimeout(wait, 5); wait(); }});</script>
</head><body><main><h1>map</h1>{div}</main></body></html>"""


def bokeh_page(plane: np.ndarray, labels: np.ndarray) -> str | None:
    """One HTML file with all of Bokeh in it; None if Bokeh is not installed."""
    try:
        from bokeh import embed, models, palettes, plotting, resources  # pyright: ignore
    except ImportError:
        return None
    colors = np.array(palettes.Category10[10])[labels % 10]
    source = models.ColumnDataSource(
        {
            "x": plane[:, 0].astype(np.float32),
            "y": plane[:, 1].astype(np.float32),
            "color": colors,
            "row": np.arange(len(plane), dtype=np.int32),
        }
    )
    figure: Any = plotting.figure(
        width=800,
        height=680,
        tools="pan,wheel_zoom,lasso_select,reset",
        output_backend="webgl",
    )
    figure.scatter("x", "y", size=3, color="color", source=source)
    figure.add_tools(models.HoverTool(tooltips=[("row", "@row")]))
    script, div = embed.components(figure)
    return _TEMPLATE.format(script=f"{resources.INLINE.render()}{script}", div=div)
