"""The picture of the layout benchmark: times with quartiles, and ratios with their intervals."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.common import figure as frame
from benchmarks.layouts.comparison import Row

_COLORS = {"NHWC": frame.BLUE, "NCHW": frame.ORANGE}
_CLAIM_OF_2018 = 27 / 40  # see the README: from 27 to 40 iterations a second


def draw(rows: Sequence[Row]) -> Figure:
    """Times on the left, ratios on the right, one line for each combination and pass."""
    size = (12, 2.2 + 0.45 * len(rows))
    figure, panels = frame.panels(1, 2, size, sharey=True, width_ratios=(3, 2))
    times, ratios = panels[0]
    groups = []
    for row in rows:
        bars = {o: frame.Bar(r.time, r.floor_seconds) for o, r in row.layouts.items()}
        groups.append((row.title(), row.combination.batch_size, bars))
    frame.draw_bars(times, groups, _COLORS, horizontal=True)
    times.invert_yaxis()  # of both panels, which share the axis
    frame.legend_above(times, columns=3)

    values, low, high = np.transpose([row.ratio[:3] for row in rows])
    ratios.axvline(1, color="black", linewidth=1)
    ratios.axvline(_CLAIM_OF_2018, color="gray", linestyle=":", label="the claim of 2018 (GPU)")
    style = {"fmt": "o", "color": "#333333", "capsize": 3}
    label = "ratio of medians, 95 % interval"
    ratios.errorbar(
        values, range(len(rows)), xerr=(values - low, high - values), label=label, **style
    )
    ratios.set_xlabel("NCHW / NHWC (below 1: NCHW is faster)")
    ratios.grid(axis="x", alpha=0.3)
    frame.legend_above(ratios, columns=2)
    return figure
