import json

import numpy as np
import pytest

from benchmarks.anomaly import CLASSES, Settings, one_class, parts, results, textures
from benchmarks.anomaly.defects import KINDS, add_defect
from benchmarks.anomaly.kept import kept
from flaxae.config.flags import from_flags
from flaxae.evaluation.scoring import DEFAULT_SCORE, SCORES

SMALL = {"preset": "anomaly", "hidden_units": (8,), "latent_dim": 3, "epochs": 1, "batch_size": 8}


def test_a_class_is_trained_once_and_measured_beside_baselines(tiny_splits, tmp_path, monkeypatch):
    monkeypatch.setattr(Settings, "flags", SMALL)
    settings = Settings(workdir=tmp_path, dataset="mnist_5k", seeds=1, epochs=1)
    found = one_class.measure_class(settings, "box")
    assert set(found["baselines"]) == {"mean image", "PCA", "5 neighbors"}
    (run,) = found["runs"]
    assert set(run["detection"]) == set(SCORES)
    assert (run["held_out_images"], run["promised"]) == (4, None)
    trained = tmp_path / "mnist_5k-box-0" / "dataset.json"
    assert json.loads(trained.read_text())["sizes"]["train"] == 17
    monkeypatch.setattr(one_class, "measure_run", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(one_class, "measure_baselines", lambda *_: pytest.fail("again"))
    assert one_class.measure_class(settings, "box") == found


def test_patches_with_defects_are_scored_and_located(monkeypatch, tmp_path):
    monkeypatch.setattr(textures, "_SCORED", 4)
    config = from_flags({**SMALL, "workdir": str(tmp_path / "run")})
    found = textures.measure_patches(config, "brick", 20)
    assert set(found["localization"]) == {"autoencoder", "mean image", "PCA of 64"}
    assert found["false_alarms"] is None
    table = results.texture_table({"brick": found})
    assert table.count("\n") == 1 + len(SCORES) + 3
    assert all(line.count("|") == 6 for line in table.splitlines())


def test_training_patches_and_scored_ones_share_no_pixel():
    texture = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    rng = np.random.default_rng(0)
    left = textures.patches(texture[:, :120], 50, rng)
    assert left.max() < 120
    assert left.shape == (50, 64, 64)
    images, masks = textures.with_defects(texture[:, 120:], rng)
    assert images[: textures._SCORED].min() >= 120
    assert not masks[: textures._SCORED].any()
    assert masks[textures._SCORED :].any(axis=(1, 2)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_changes_the_pixels_of_its_mask(kind):
    rng = np.random.default_rng(0)
    gray = np.full((64, 64), 128, np.uint8)
    for _ in range(50):
        image, mask = add_defect(gray, kind, rng)
        changed = np.abs(image.astype(int) - 128)
        assert changed[mask].min() >= 15
        assert changed[~mask].max(initial=0) <= 45  # of a stain's soft edge
        assert 15 < mask.sum() < 300


def test_parts_have_as_many_defects_as_were_asked_for(tmp_path):
    kinds = parts.write_parts(tmp_path, good=3, new=7, defective=4)
    assert sorted(filter(None, kinds)) == sorted([*parts.KINDS, parts.KINDS[0]])
    counts = {p.name: len(list(p.iterdir())) for p in tmp_path.iterdir()}
    assert counts == {"good": 3, "new": 7, "masks": 4}
    names = {path.name for path in (tmp_path / "masks").iterdir()}
    assert names == {f"part_{row:04}.png" for row, kind in enumerate(kinds) if kind}


def test_what_was_measured_is_kept(tmp_path):
    assert kept(tmp_path / "a" / "b.json", lambda: {"x": 1}) == {"x": 1}
    assert kept(tmp_path / "a" / "b.json", lambda: pytest.fail("measured again")) == {"x": 1}


def fake_class(auroc):
    def values(value):
        return {"auroc": value, "average_precision": 1.0, "false_alarms_at_95": 1.0}

    run = {
        "detection": {name: values(auroc) for name in SCORES},
        "promised": {"rate": 0.01, "low": 0.003, "high": 0.02},
        "false_alarms": {"rate": 0.012, "low": 0, "high": 1},
        "detected": 0.5,
    }
    other = json.loads(json.dumps(run))
    other["detection"] = {name: values(auroc + 1) for name in SCORES}
    other["false_alarms"]["rate"] = 0.03
    return {"baselines": {"mean image": values(50.0)}, "runs": [run, other]}


def test_the_table_has_means_over_seeds_and_classes():
    classes = {"3": fake_class(90.0), "4": fake_class(80.0)}
    lines = results.class_table(classes).splitlines()
    assert lines[0] == "| detector | 3 | 4 | mean |"
    assert lines[2] == "| mean image | 50.0 | 50.0 | 50.0 |"
    expected = f"| **{DEFAULT_SCORE}** | 90.5 ± 0.5 | 80.5 ± 0.5 | 85.5 ± 0.5 |"
    assert expected in lines
    assert results.alarm_line(classes) == (
        "at the threshold for 1 % false alarms: 2.10 % of normal test images (1.2 to 3.0), in 2 of "
        "4 runs inside the interval that was promised; 50.0 % of the anomalies are detected"
    )


def test_the_ten_classes_have_the_published_baselines_below():
    lines = results.class_table({name: fake_class(90.0) for name in CLASSES}).splitlines()
    assert all(line.count("|") == 13 for line in lines)
    assert lines[-1].endswith("| 92.3 |")
