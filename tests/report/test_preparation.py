import logging

from flaxae.data.store.entries import display
from flaxae.report.preparation import shown


def test_the_bar_is_on_stderr(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # so that it is shown as on a terminal
    with shown():
        show = display.get()
        assert show is not None
        with show("decoding 9 images") as progress:
            progress(3, 9)
            print("a result")
    captured = capsys.readouterr()
    assert captured.out == "a result\n"
    assert "decoding 9 images" in captured.err


def test_a_remark_is_one_line(capsys):
    with shown():
        logging.getLogger("flaxae.data").warning("a file: %s", "a\nb\x1b[2J\udcff\u00e9.png")
    assert capsys.readouterr().err == "warning: a file: a\\nb\\x1b[2J\\udcff\u00e9.png\n"
