from flaxae.report.terminal import show_table


def test_numbers_are_at_the_right_also_below_0(capsys):
    show_table("", ("name", "value"), [("a", "-0.5"), ("b", "12.25")])
    assert capsys.readouterr().out.splitlines() == ["name  value", "a      -0.5", "b     12.25"]


def test_a_title_is_not_wrapped_to_the_width_of_a_narrow_table(capsys):
    show_table("5 nearest neighbors: class and predictions", ("", "0"), [("cats", "3")])
    assert capsys.readouterr().out.startswith("5 nearest neighbors: class and predictions\n")


def test_cells_are_shown_as_they_are(capsys):
    show_table("[b]t", ("name", "[i]"), [("x[/b]", "1"), ("[bold]f", "2\n3")])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["[b]t", "name      [i]", "x[/b]       1", "[bold]f  2\\n3"]
