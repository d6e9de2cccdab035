"""Which runs are said to be measured on the same images."""

import json
from dataclasses import replace

import pytest

import flaxae
from flaxae.api.report import comparison
from tests.fixtures.synthetic_run import make_run

OTHERS = "measured on different images, targets or noise, so no number is marked"


def test_validation_images_are_those_of_the_run_s_classes(tmp_path, monkeypatch):
    make_run(tmp_path / "a", monkeypatch)
    run = flaxae.load(tmp_path / "a")
    data = replace(run.config.data, classes=("1",))
    before = [comparison._measured(run, split) for split in ("test", "validation")]
    run.splits  # noqa: B018 - read before the classes are said to be others
    run.config = replace(run.config, data=data)
    after = [comparison._measured(run, split) for split in ("test", "validation")]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False]


@pytest.mark.parametrize("other", [None, "digest", "targets", "noise_factor"])
def test_numbers_of_other_inputs_or_targets_have_no_best_one(tmp_path, monkeypatch, other):
    for name in "ab":
        make_run(tmp_path / name, monkeypatch)
    runs = [flaxae.load(tmp_path / name) for name in "ab"]
    config = runs[1].config
    if other == "digest":
        path = tmp_path / "b" / "dataset.json"
        runs[1].splits  # noqa: B018 - read before the images are said to be others
        path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": "0" * 64}))
    if other == "targets":
        runs[1].config = replace(config, data=replace(config.data, targets="/clean"))
    if other == "noise_factor":
        runs[1].config = replace(config, objective=replace(config.objective, noise_factor=0.3))
    path = comparison.write_comparison(runs, tmp_path / "both.html", "test", overwrite=False)
    page = path.read_text(encoding="utf-8")
    assert (OTHERS in page) == (other is not None)
    assert ("Bold is the best of a row" in page) == (other is None)
