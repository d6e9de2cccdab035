"""`Run.score` and what it keeps, beside what the model itself says."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

import flaxae
from flaxae.api.load import load
from flaxae.api.score import maps, reference
from flaxae.data.splits import Split
from flaxae.errors import InputError, RunError
from flaxae.evaluation.scoring import SCORES
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.runs.reference import read_reference, reference_path
from flaxae.training import processes
from tests.fixtures.synthetic_run import make_run, solid_images

SIZES = {"train": 60, "validation": 30, "test": 41}


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    splits = {name: solid_images(size, seed=size) for name, size in SIZES.items()}
    model = FullyConnectedConfig(hidden_units=(6, 5))
    make_run(tmp_path / "run", monkeypatch, model, splits)
    return tmp_path / "run"


@pytest.fixture
def run(workdir):
    return load(workdir)


def test_the_scores_are_what_the_model_says(run):
    images = run.splits["test"].images
    scores = run.score(images, worst_pixels=25)
    errors = (run.reconstruct(images) - images / np.float32(255)) ** 2
    np.testing.assert_allclose(scores.every["mse"], errors.mean(axis=(1, 2, 3)), rtol=1e-4)
    pixels = np.sort(errors.mean(axis=3).reshape(41, -1))[:, -24:]  # of 8 x 12
    np.testing.assert_allclose(scores.every["worst_pixels"], pixels.mean(axis=1), rtol=1e-4)
    loss = [run.evaluate(images=images[i : i + 1])["loss"] for i in range(2)]
    np.testing.assert_allclose(scores.every["cross_entropy"][:2], loss, rtol=1e-4)
    np.testing.assert_allclose(scores.vectors, run.encode(images), atol=1e-5)
    distances = np.linalg.norm(
        run.encode(images)[:, None] - run.encode(run.splits["train"].images)[None], axis=2
    )
    nearest = np.sort(distances, axis=1)[:, :5].mean(axis=1)
    np.testing.assert_allclose(scores.every["neighbors"], nearest, atol=1e-3)
    assert set(scores.every) == set(SCORES)


def test_the_threshold_is_a_score_of_a_held_out_image(run):
    for name in SCORES:
        scores = run.score(split="test", score=name, false_alarms=0.1)
        held_out = np.sort(run.score(split="validation", score=name).values)
        assert scores.threshold.value == pytest.approx(held_out[27], rel=1e-5)  # 3 of 31 above
        assert scores.threshold.images == 30
        np.testing.assert_array_equal(scores.anomalies, scores.values > held_out[27])
        assert scores.values[np.argsort(scores.ranks)].tolist() == sorted(scores.values)[::-1]


def test_too_few_held_out_images_leave_the_threshold_empty(run):
    scores = run.score(split="test", false_alarms=0.01)
    assert (scores.threshold.value, scores.anomalies) == (None, None)
    assert scores.threshold.needed == 99
    assert np.isfinite(scores.values).all()


def test_what_is_normal_is_kept_and_needs_no_images_afterwards(workdir, monkeypatch):
    images = solid_images(7, seed=3).images
    before = load(workdir).score(images)
    run = load(workdir)
    monkeypatch.setattr(run, "_open_splits", lambda: pytest.fail("the images were read"))
    after = run.score(images)
    np.testing.assert_array_equal(before.values, after.values)
    assert before.threshold == after.threshold
    with pytest.raises(pytest.fail.Exception):
        run.score(images, worst_pixels=50)  # of which nothing is kept


@pytest.mark.parametrize("damage", ["cut", "bit", "other", "empty"])
def test_a_damaged_reference_is_made_anew(workdir, damage):
    kept = reference(load(workdir), 5.0)
    path = reference_path(workdir, 7, 5.0)
    content = path.read_bytes()
    middle = len(content) // 2
    broken = {
        "cut": content[:middle],
        "bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "other": b"PK\3\4 is no archive",
        "empty": b"",
    }[damage]
    path.write_bytes(broken)
    assert read_reference(path) is None
    again = reference(load(workdir), 5.0)
    np.testing.assert_array_equal(again.vectors, kept.vectors)
    assert path.read_bytes() == content


def test_a_workdir_that_cannot_be_written_is_warned_of(run, monkeypatch, capsys):
    def refuse(path, content):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("flaxae.runs.reference.write_atomically", refuse)
    assert run.score(split="test").values.shape == (41,)
    error = capsys.readouterr().err
    assert "Permission denied" in error
    assert "it is computed anew each time" in error


def test_labels_tell_how_well_it_detects(run):
    scores = run.score(split="test", normal_classes=["Red"], false_alarms=0.1)
    anomalous = run.splits["test"].labels != 0
    np.testing.assert_array_equal(scores.anomalous, anomalous)
    for name, values in scores.every.items():
        found = scores.detection[name]
        assert found.auroc == pytest.approx(roc_auc_score(anomalous, values))
        precision = average_precision_score(anomalous, values)
        assert found.average_precision == pytest.approx(precision)
    assert {"mean image", "5 neighbors of pixels"} < set(scores.detection)
    false = np.mean(scores.values[~anomalous] > scores.threshold.value)
    assert scores.false_alarms.rate == pytest.approx(false)
    assert run.score(split="test").detection == {}


def test_scores_beside_targets_are_warned_of(run, capsys):
    images = solid_images(5).images
    run.score(flaxae.Split(images, targets=images))
    assert "the run was trained to reconstruct targets" in capsys.readouterr().err
    run.score(images)
    assert "targets" not in capsys.readouterr().err


def test_one_kind_of_image_has_no_detection(run):
    red = run.splits["test"].take(np.flatnonzero(run.splits["test"].labels == 0))
    scores = run.score(red, normal_classes=["0"])
    assert not scores.anomalous.any()
    assert scores.detection == {}


def test_masks_tell_where(run, tmp_path):
    test = run.splits["test"].first(6)
    files = tuple(f"part {row}.png" for row in range(6))
    part = Split(test.images, files=files)
    (tmp_path / "masks").mkdir()
    masks = np.zeros((6, 8, 12), bool)
    for row in (1, 4):
        masks[row, 2:5, row : row + 3] = True
        mask = Image.fromarray(masks[row].astype(np.uint8) * 255)
        mask.save(tmp_path / "masks" / f"part {row}_mask.png")
    scores = run.score(part, masks=tmp_path / "masks")
    assert scores.anomalous.tolist() == [False, True, False, False, True, False]
    errors = maps(run, test.images).errors
    expected = roc_auc_score(masks.ravel(), errors.ravel())
    assert scores.localization.pixel_auroc == pytest.approx(expected)
    assert 0 <= scores.localization.aupro <= 1
    with pytest.raises(InputError, match="paired by file name, and these images are no files"):
        run.score(test.images, masks=tmp_path / "masks")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "x"}, "score got x; expected one of mse, worst_pixels"),
        ({"false_alarms": 0.0}, "false_alarms got 0.0; expected 0 < rate < 1"),
        ({"false_alarms": 1e-310}, "got 1e-310; expected 0 < rate < 1, at least 1e-09"),
        ({"false_alarms": float("nan")}, "false_alarms got nan"),
        ({"worst_pixels": 0}, "worst_pixels got 0; expected percent"),
        ({"worst_pixels": 101.0}, "worst_pixels got 101"),
        ({"labels": [1]}, "labels came without images"),
        ({"normal_classes": ["Yellow"]}, "--normal-classes got Yellow; expected names or numbers"),
    ],
)
def test_nonsense_is_refused(run, options, message):
    with pytest.raises(InputError, match=message):
        run.score(**options)


def test_a_number_of_maps_below_0_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="maps got -5; expected a whole number from 0"):
        run.write_scores(tmp_path / "out", run.score(), maps=-5)
    assert not (tmp_path / "out").exists()


def test_the_scale_of_the_maps_is_of_the_run(run):
    scale = run.score(split="test").scale
    assert run.score(np.zeros((1, 8, 12, 3), np.uint8)).scale == scale
    assert 0 < scale <= 1


def test_a_user_may_add_a_score(run, monkeypatch):
    entry = SCORES["mse"]._replace(function=lambda measured, normal: -measured.mse)
    monkeypatch.setitem(SCORES, "smoothness", entry)
    scores = run.score(split="test", score="smoothness")
    np.testing.assert_array_equal(scores.values, -scores.every["mse"])


def test_training_on_one_class_keeps_what_scoring_needs(tiny_config):
    data = {"data": flaxae.DataConfig(dataset="tiny", classes=("box",))}
    config = flaxae.TrainConfig(**vars(tiny_config) | data | {"scoring": True})
    run = flaxae.train(config)
    assert set(run.splits["train"].labels.tolist()) == {1}
    assert set(run.splits["test"].labels.tolist()) == {0, 1, 2}
    sizes = json.loads((run.workdir / "dataset.json").read_text())["sizes"]
    assert sizes == {"train": 17, "validation": 4, "test": 13}
    kept = read_reference(reference_path(run.workdir, run.step, 5.0))
    assert kept is not None
    np.testing.assert_allclose(kept.vectors, run.encode(run.splits["train"].images), atol=1e-5)
    scores = load(run.workdir).score(split="test")  # the trained class is normal
    np.testing.assert_array_equal(scores.anomalous, run.splits["test"].labels != 1)
    assert flaxae.train(config).epoch == 2  # continued, with the same classes


def test_a_process_that_is_not_the_first_takes_part_and_writes_nothing(
    run, workdir, tmp_path, monkeypatch
):
    whole = run.score(normal_classes=["Red"], false_alarms=0.2)
    path = reference_path(workdir, run.step, 5.0)
    path.unlink()
    before = sorted(workdir.rglob("*"))
    monkeypatch.setattr(processes, "is_first", lambda: False)
    scores = run.score(normal_classes=["Red"], false_alarms=0.2)
    np.testing.assert_array_equal(scores.values, whole.values)
    assert scores.threshold == whole.threshold
    assert (scores.anomalous, scores.detection, scores.false_alarms) == (None, {}, None)
    assert run.write_scores(tmp_path / "out", scores, npz=True) == (tmp_path / "out").resolve()
    assert run.export_embedding(tmp_path / "map").points == 41
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "map").exists()
    assert sorted(workdir.rglob("*")) == before


def test_all_processes_read_what_process_0_reads(run, monkeypatch):
    monkeypatch.setattr(processes, "from_first", lambda what, own: True)
    monkeypatch.setattr(processes, "name", lambda: "process 1 of 2 (b)")
    expected = r"process 1 of 2 \(b\) cannot read .*7-5.npz, which process 0 reads"
    with pytest.raises(RunError, match=expected):
        run.score()
