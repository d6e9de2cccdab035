"""The last lines of a training."""

import pytest

from flaxae.report.progress import show_summary


@pytest.mark.parametrize(
    ("epochs", "seconds", "expected"),
    [
        (1, 2.9, "1 epoch in 3 seconds; "),
        (1, 1.0, "1 epoch in 1 second; "),
        (2, 33.0, "2 epochs in 1.1 minutes; "),
    ],
)
def test_the_summary_has_the_time_in_a_unit_that_fits(epochs, seconds, expected, capsys):
    history = [
        {"epoch": epoch, "validation_loss": 0.5 - epoch / 10, "seconds": seconds}
        for epoch in range(1, epochs + 1)
    ]
    show_summary("/runs/my run", history)
    out = capsys.readouterr().out
    assert out.startswith(f"\n{expected}validation loss")
    assert "evaluate --workdir '/runs/my run'\n" in out


@pytest.mark.parametrize("scoring", [True, False])
def test_a_run_that_is_made_to_score_images_says_how(scoring, capsys):
    show_summary("/runs/x", [], scoring)
    expected = "score:     python run.py score --workdir /runs/x --images FOLDER\n"
    assert capsys.readouterr().out.endswith(expected) == scoring
