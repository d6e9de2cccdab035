from flaxae.report.terminal import show_quality, show_table


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


def test_the_unit_of_a_loss_names_what_was_added_to_it(capsys):
    quality = {"loss": 0.5, "mse": 0.01, "ssim_loss": 0.125, "size_loss": 0.25, "examples": 3}
    show_quality("test split", "bce", quality)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == "loss (bce) 0.5000 nats a pixel, and SSIM loss and size_loss"
    assert lines[4] == "SSIM loss 0.1250 1 - SSIM, times its weight"
    show_quality("test split", "mse", {"loss": 0.5, "examples": 3})
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == "loss (mse) 0.5000 a pixel"
