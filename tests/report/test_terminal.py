from flaxae.report.terminal import show_table


def test_cells_are_shown_as_they_are(capsys):
    show_table("[b]t", ("name", "[i]"), [("x[/b]", "1"), ("[bold]f", "2\n3")])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["[b]t", "name      [i]", "x[/b]       1", "[bold]f  2\\n3"]
