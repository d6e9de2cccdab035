"""Sizes in bytes, as people read them."""


def size_text(size: int | float) -> str:
    """A number of bytes with its unit.

    Example:
        >>> size_text(12_288_000_000), size_text(4_500)
        ('12.3 GB', '4.5 kB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1e3:.1f} kB"
