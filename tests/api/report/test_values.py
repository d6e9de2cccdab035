"""The small page leaves out what takes long, by the size of the images."""

import pytest

import flaxae
from flaxae.api.report import values as module
from tests.fixtures.synthetic_run import HEIGHT, WIDTH, make_run

PIXELS = HEIGHT * WIDTH * 3
TRAIN, TEST = 60 * PIXELS, 41 * PIXELS


@pytest.fixture
def run(tmp_path, monkeypatch):
    make_run(tmp_path / "run", monkeypatch)
    return flaxae.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("most", "errors_of", "neighbors_of"),
    [
        (TRAIN, {"embedding", "pca", "pixels"}, {"embedding", "pca", "pixels"}),
        (TRAIN - 1, {"embedding"}, {"embedding", "pixels"}),
        (TEST - 1, {"embedding"}, {"embedding"}),
    ],
)
def test_the_small_page_is_bounded(run, monkeypatch, most, errors_of, neighbors_of):
    monkeypatch.setattr(module, "_MOST_QUICK", most)
    if most < TEST:
        monkeypatch.setattr(module, "floats", lambda _: pytest.fail("images became floats"))
    found = module.quick_values(run, run.splits["test"], run.embedding("test"))
    assert set(found["mse"]) == errors_of
    assert set(found["map_accuracy"]) == neighbors_of


def test_the_whole_page_has_pca_of_more(run, monkeypatch):
    monkeypatch.setattr(module, "_MOST_QUICK", 1)
    found = module.whole_values(run, run.splits["test"], "test")
    assert set(found["mse"]) == {"embedding", "pca", "pixels"}
