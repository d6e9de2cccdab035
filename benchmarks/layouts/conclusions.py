"""The conclusions of the layout benchmark: which layout to take, and why the times are so."""

import statistics
from collections import Counter
from collections.abc import Sequence

from benchmarks.common.memory import MIB
from benchmarks.layouts.comparison import Row

_NEGLIGIBLE = 0.02  # a ratio this close to 1 is no reason to choose


def answer(rows: Sequence[Row]) -> str:
    """Which layout to take on this device."""
    passing = "train" if any(row.passing == "train" for row in rows) else "forward"
    chosen = [row for row in rows if row.passing == passing]
    # Between equal programs any difference is noise, even if its interval excludes 1.
    different = [row.ratio for row in chosen if not row.same_program]
    faster = sum(each.high < 1 - _NEGLIGIBLE for each in different)
    slower = sum(each.low > 1 + _NEGLIGIBLE for each in different)
    what = {"train": "a training step", "forward": "a forward pass"}[passing]
    ratios = [row.ratio.value for row in chosen]
    spread = f"95 % interval {chosen[0].ratio.low:.2f} to {chosen[0].ratio.high:.2f}"
    if len(ratios) > 1:
        spread = (
            f"geometric mean of {len(ratios)} combinations from {min(ratios):.2f} to "
            f"{max(ratios):.2f}; NCHW is significantly faster in {faster}, slower in {slower}"
        )
    if faster and slower:
        advice = "the better layout depends on the combination: see the table"
    elif slower:
        advice = "keep NHWC"
    elif faster > len(ratios) / 2:
        advice = "take --layout NCHW"
    elif faster:
        advice = "NCHW is better in some combinations: see the table"
    else:
        advice = "there is no significant difference: keep NHWC"
    mean = statistics.geometric_mean(ratios)
    return f"the time of {what} in NCHW relative to NHWC is {mean:.2f} ({spread}); {advice}"


def explain(row: Row) -> str:
    """What differs between the two programs after XLA's layout assignment."""
    if row.same_program is None:
        return "not reported: this backend does not print its programs"
    if row.same_program:
        return "XLA compiles both layouts to the same instructions; any difference is noise"
    both = row.layouts.values()
    work = [Counter(result.convolutions) for result in both]
    forms = [Counter(c.form() for c in result.convolutions) for result in both]
    total, alike = max(each.total() for each in work), (work[0] & work[1]).total()
    inputs = Counter(c.input for c in row.layouts["NHWC"].convolutions)
    mostly = f"(mostly {max(inputs, key=inputs.__getitem__, default='')} in memory)"
    if total == 0:
        found = "there are no convolutions"
    elif alike == total:
        found = f"all {total} convolutions are the same in both programs {mostly}"
    elif forms[0] == forms[1]:
        found = (
            f"all {total} convolutions have the same orders and run the same code in both programs "
            f"{mostly}; {total - alike} have other sizes or padding"
        )
    else:
        found = f"{alike} of {total} convolutions are the same in both programs"
    for layout, result in row.layouts.items():
        sizes = (result.moves.transpose_bytes / MIB, result.moves.copy_bytes / MIB)
        found += f"; {layout} transposes {sizes[0]:.1f} MiB and copies {sizes[1]:.1f} MiB"
    return found
