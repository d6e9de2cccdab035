"""The tables of a page that shows runs beside each other."""

from flaxae.report.page.comparison import compared
from flaxae.report.page.numbers import numbers


def test_only_numbers_of_the_same_images_have_a_best_one():
    runs = [numbers({"mse": {"embedding": value}}, "bce") for value in (0.2, 0.1)]
    assert [row.best for row in compared(runs)] == [[1]]
    assert [row.best for row in compared(runs, of_same_images=False)] == [[]]
