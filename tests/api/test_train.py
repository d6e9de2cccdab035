"""`flaxae.train` on arrays: what it accepts, what it returns, and what it leaves as it was."""

import copy
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import jax
import numpy as np
import pytest

import flaxae
from flaxae.data.pixel_hash import pixel_hashes, split_by_hash
from tests.fixtures.images import synthetic_split

CONFIG = flaxae.preset("original", filters=(4, 3), batch_size=12, epochs=2)
ONE_BY_ONE = replace(CONFIG, device=flaxae.DeviceConfig(steps_per_call=1))
SPLIT = synthetic_split(60, 0)
IMAGES = SPLIT.images
THREE = {
    name: synthetic_split(24, seed).images
    for seed, name in enumerate(("train", "validation", "test"))
}


def timeless(history):
    clock = ("seconds", "images_per_second")
    return [{k: v for k, v in record.items() if k not in clock} for record in history]


def test_three_lines_train_on_an_array():
    run = flaxae.train(CONFIG, IMAGES)
    assert [record["epoch"] for record in run.history] == [1, 2]
    assert run.encode(IMAGES).shape == (60, 3 * 2 * 3)
    assert run.reconstruct(IMAGES).shape == IMAGES.shape


def test_an_array_is_split_by_a_hash_of_its_pixels():
    images = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 1)).astype(np.uint8)
    images[200:] = images[:200]  # duplicates
    run = flaxae.train(replace(CONFIG, epochs=1), images, labels=np.arange(400) % 3)
    splits = run.splits
    sizes = {name: len(split.images) for name, split in splits.items()}
    assert sum(sizes.values()) == 400
    assert 280 < sizes["train"] < 350
    assert 20 < sizes["validation"] < 70
    seen = {name: {i.tobytes() for i in split.images} for name, split in splits.items()}
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not split_by_hash(pixel_hashes(splits["train"].images)).any()
    assert splits["test"].class_names == ("0", "1", "2")


def test_more_steps_than_can_be_counted_are_refused(tmp_path):
    config = flaxae.TrainConfig(epochs=2**40, workdir=str(tmp_path / "run"))
    with pytest.raises(flaxae.InputError, match="--epochs got 1099511627776, which are"):
        flaxae.train(config, THREE)
    assert not (tmp_path / "run").exists()


def test_pixels_as_floats_and_without_channels_give_the_same_run():
    runs = [flaxae.train(CONFIG, images) for images in (IMAGES, IMAGES[..., 0] / 255)]
    assert timeless(runs[0].history) == timeless(runs[1].history)


def test_a_mapping_of_splits_is_used_as_it_is():
    labels = {name: np.array(["ant", "bee"] * 12) for name in THREE}
    run = flaxae.train(replace(CONFIG, epochs=1), THREE, labels)
    np.testing.assert_array_equal(run.splits["test"].images, THREE["test"])
    assert run.class_names == ("ant", "bee")
    assert "knn_accuracy" in run.evaluate_embedding("test").scores


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint64, object, str])
def test_labels_of_any_integer_type_and_names(kind):
    labels = (np.arange(60) % 3).astype(str if kind in (object, str) else kind).astype(kind)
    run = flaxae.train(replace(CONFIG, epochs=1), IMAGES, labels)
    assert run.class_names == ("0", "1", "2")
    assert run.splits["train"].labels.dtype == np.int32


def test_splits_in_a_mapping_are_checked_and_completed():
    names = np.array(["ant", "bee"] * 12)
    splits = {
        name: flaxae.Split(images[..., 0], labels=names, targets=images[..., 0])
        for name, images in THREE.items()
    }
    run = flaxae.train(replace(CONFIG, epochs=1), splits)
    assert run.class_names == ("ant", "bee")
    assert run.splits["test"].targets.shape == (24, 9, 7, 1)
    numbered = {n: flaxae.Split(i, np.arange(24) % 2, ("x", "y")) for n, i in THREE.items()}
    assert flaxae.train(replace(CONFIG, epochs=1), numbered).class_names == ("x", "y")


def test_all_splits_with_targets_in_one_of_them():
    dark = np.zeros_like(THREE["test"])
    splits = {**THREE, "test": flaxae.Split(THREE["test"], targets=dark)}
    run = flaxae.train(replace(CONFIG, epochs=1), splits)
    parts = [run.evaluate(name)["mse"] for name in ("train", "validation", "test")]
    assert run.evaluate("all")["mse"] == pytest.approx(np.mean(parts), rel=1e-5)


def limited_to(limit, **options):
    return replace(CONFIG, data=flaxae.DataConfig(train_limit=limit), **options)


def test_training_images_may_be_limited(tmp_path):
    """To the first of the split; a run on these alone is the same."""
    labels = {name: np.arange(24) % 2 for name in THREE}
    splits = {n: flaxae.Split(i, labels[n], targets=i[:, ::-1]) for n, i in THREE.items()}
    config = limited_to(14, workdir=str(tmp_path / "run"))
    run = flaxae.train(config, splits)
    train = run.splits["train"]
    np.testing.assert_array_equal(train.images, THREE["train"][:14])
    np.testing.assert_array_equal(train.labels, labels["train"][:14])
    np.testing.assert_array_equal(train.targets, THREE["train"][:14, ::-1])
    assert [len(run.splits[name].images) for name in ("validation", "test")] == [24, 24]
    assert [record["step"] for record in run.history] == [1, 2]
    first = splits["train"]._replace(
        images=train.images, labels=train.labels, targets=train.targets
    )
    alone = flaxae.train(CONFIG, {**splits, "train": first})
    assert timeless(alone.history) == timeless(run.history)
    loaded = flaxae.load(run.workdir, images=splits)
    assert len(loaded.splits["train"].images) == 14
    assert loaded.evaluate("train") == run.evaluate("train")
    with pytest.raises(flaxae.InputError, match="--train-limit 14 there, 15 here"):
        flaxae.train(limited_to(15, workdir=str(run.workdir)), splits)


@pytest.mark.parametrize("limit", [24, 10**6])
def test_a_limit_beyond_the_training_images_changes_nothing(limit):
    runs = [flaxae.train(each, THREE) for each in (limited_to(limit), CONFIG)]
    assert timeless(runs[0].history) == timeless(runs[1].history)


def test_one_array_is_split_before_it_is_limited():
    whole, limited = (flaxae.train(limited_to(limit), IMAGES).splits for limit in (None, 20))
    np.testing.assert_array_equal(limited["train"].images, whole["train"].images[:20])
    np.testing.assert_array_equal(limited["test"].images, whole["test"].images)


def test_targets_are_what_the_loss_compares_with():
    dark = np.zeros_like(THREE["train"])
    splits = {name: flaxae.Split(images, targets=dark) for name, images in THREE.items()}
    config = replace(CONFIG, epochs=30, optimizer=replace(CONFIG.optimizer, learning_rate=0.03))
    run = flaxae.train(config, splits)
    assert run.reconstruct(THREE["test"]).max() < 0.1
    assert run.evaluate("test")["mse"] < 0.01


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.astype(np.int64), None, r"images is int64 in 0\.\.\d+; expected uint8, or floats"),
        (IMAGES / 1.0, None, r"images is float64 in 0\.0\.\.\d+\.0; expected floats in 0\.\.1"),
        (IMAGES / np.nan, None, r"images is float64 in nan\.\.nan"),
        (IMAGES[0, :, :, 0], None, r"images has the shape \(9, 7\); expected \[N, H, W\]"),
        (IMAGES > 0, None, "images is bool; expected uint8"),
        (IMAGES[:3], None, "no image is in the split"),
        (IMAGES[:0], None, r"no image is in the split train \(0 images in all\); give more images"),
        (IMAGES, np.arange(59), "labels has 59 entries for 60 images"),
        (IMAGES, np.full(60, -1), "labels are int64 from -1; expected whole numbers from 0"),
        (IMAGES, np.full(60, 0.5), r"labels are float64 from 0\.5"),
        (IMAGES, np.full(60, 10**7), "labels go up to 10000000; expected less than 65536"),
        ({"train": IMAGES}, None, "images has the splits 'train'; expected train, validation"),
        ({**THREE, "test": IMAGES[:, 1:]}, None, "the splits have images of different shapes"),
        (THREE, np.arange(24), "labels is a ndarray; images is a mapping, so give one"),
        (None, np.arange(60), "labels came without images"),
        ([[1], [2, 3]], None, "images is no array"),
        (IMAGES, {"train": [1]}, "labels is a mapping, but images is one array"),
        (
            THREE,
            {"train": np.arange(24)},
            "labels has the splits 'train'; expected those of",
        ),
        (
            {**THREE, "test": flaxae.Split(THREE["test"], np.arange(24))},
            None,
            "labels has the splits 'test'; expected those of images",
        ),
        (
            {n: flaxae.Split(i, np.arange(23)) for n, i in THREE.items()},
            None,
            r"labels\['train'\] has 23 entries for 24 images",
        ),
    ],
)
def test_what_cannot_be_used_is_named(images, labels, message):
    with pytest.raises(flaxae.InputError, match=message):
        flaxae.train(CONFIG, images, labels)


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"image_size": (64, 64), "channels": 3}, "--image-size is for a folder of images, and "),
        ({"range": (0.0, 9.0)}, "--range is for a folder of images or an array file, and "),
        ({"labels_key": "kinds"}, "--labels-key is for an array file, and "),
    ],
)
def test_an_option_of_files_is_refused_for_arrays(options, flag):
    config = replace(CONFIG, data=flaxae.DataConfig(**options))
    for images in (IMAGES, THREE):
        with pytest.raises(flaxae.InputError, match=f"{flag}these are images from Python; leave"):
            flaxae.train(config, images)


def test_a_run_without_workdir_lives_as_long_as_its_object():
    run = flaxae.train(CONFIG, IMAGES)
    workdir = run.workdir
    assert (workdir / "metrics.jsonl").exists()
    del run
    gc.collect()
    assert not workdir.exists()


def test_a_run_with_workdir_is_kept_and_continues_with_the_same_images(tmp_path):
    whole = flaxae.train(CONFIG, IMAGES)
    config = replace(CONFIG, workdir=str(tmp_path / "run"))
    flaxae.train(replace(config, epochs=1), IMAGES)
    run = flaxae.train(config, IMAGES)
    assert timeless(run.history) == timeless(whole.history)
    others = IMAGES.copy()
    others[7, 3, 3] ^= 1
    with pytest.raises(flaxae.InputError, match="was trained on other images"):
        flaxae.train(replace(config, epochs=3), others)
    with pytest.raises(flaxae.InputError, match="was trained on other images"):
        flaxae.load(run.workdir, images=others)


def test_labels_of_other_classes_are_not_those_of_the_run(tmp_path):
    config = replace(CONFIG, workdir=str(tmp_path / "run"))
    labels = [("a", "b", "c")[row % 3] for row in range(len(IMAGES))]
    run = flaxae.train(config, IMAGES, labels=labels)
    loaded = flaxae.load(run.workdir, images=IMAGES, labels=labels)
    assert loaded.splits["train"].class_names == run.class_names == ("a", "b", "c")
    others = [row % 10 for row in range(len(IMAGES))]
    with pytest.raises(flaxae.InputError, match=r"other labels \(3 classes, a b c first"):
        flaxae.load(run.workdir, images=IMAGES, labels=others)


def test_it_prints_only_if_asked(capfd):
    flaxae.train(CONFIG, IMAGES)
    assert capfd.readouterr() == ("", "")
    flaxae.train(CONFIG, IMAGES, verbose=True)
    out, err = capfd.readouterr()
    assert "epoch 2/2  train loss" in out
    assert err == ""


def settings():
    absl = logging.getLogger("absl")
    return {
        "jax": dict(jax.config.values),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "log levels": (logging.getLogger().level, absl.level, logging.root.manager.disable),
        "handlers": (list(logging.getLogger().handlers), list(absl.handlers)),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
    }


def test_the_caller_s_settings_stay_as_they_were(tmp_path):
    flaxae.train(CONFIG, IMAGES)  # imports what is imported only once
    before = settings()
    run = flaxae.train(CONFIG, IMAGES)
    run.evaluate("test")
    run.export_embedding(tmp_path / "embedding")
    assert settings() == before


def test_it_works_outside_the_main_thread_and_beside_another_run(tmp_path):
    alone = [flaxae.train(replace(CONFIG, seed=seed), IMAGES) for seed in (0, 1)]
    runs, errors = {}, []

    def work(seed):
        try:
            runs[seed] = flaxae.train(replace(CONFIG, seed=seed), IMAGES)
            runs[seed].export_embedding(tmp_path / str(seed))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for seed in (0, 1):
        assert timeless(runs[seed].history) == timeless(alone[seed].history)


def test_an_array_needs_no_tfds_and_gives_the_root_logger_no_handler():
    """In a process of its own, because pytest has given it handlers."""
    code = (
        "import logging, sys, numpy, flaxae\n"
        "images = numpy.random.default_rng(0).integers(0, 256, (60, 8, 8), numpy.uint8)\n"
        "model = flaxae.ConvolutionalConfig(filters=(2,))\n"
        "run = flaxae.train(flaxae.TrainConfig(model=model, epochs=1), images)\n"
        "print(logging.root.handlers, logging.getLogger('absl').filters,\n"
        "      [name for name in sys.modules if name.startswith('tensorflow')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("[] [] []\n", "")


def test_options_are_checked_when_they_are_made():
    """In a process of its own, because the tests check types of their own."""
    code = (
        "import flaxae, numpy, pathlib\n"
        "wrong = [dict(epochs=1.5), dict(epochs=True), dict(epochs='1'), dict(model='plain'),\n"
        "         dict(optimizer={}), dict(seed=None)]\n"
        "for values in wrong:\n"
        "    try: flaxae.TrainConfig(**values); print('accepted', values)\n"
        "    except flaxae.InputError as error: print(error)\n"
        "config = flaxae.TrainConfig(epochs=numpy.int64(3), workdir=pathlib.Path('w'))\n"
        "filters = flaxae.ConvolutionalConfig(filters=[2]).filters\n"
        "print(repr(config.epochs), config.workdir, filters)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    *refused, last = found.stdout.splitlines()
    assert [line.split(";")[0] for line in refused] == [
        "epochs is 1.5",
        "epochs is True",
        "epochs is '1'",
        "model is 'plain'",
        "optimizer is {}",
        "seed is None",
    ]
    assert last == "3 w (2,)"


def test_a_copy_keeps_the_temporary_folder():
    run = flaxae.train(CONFIG, IMAGES)
    other, workdir = copy.copy(run), run.workdir
    del run
    gc.collect()
    assert workdir.exists()
    del other
    gc.collect()
    assert not workdir.exists()


def test_the_best_weights_are_returned(tmp_path):
    config = replace(CONFIG, epochs=6, optimizer=replace(CONFIG.optimizer, learning_rate=0.3))
    run = flaxae.train(replace(config, workdir=str(tmp_path / "run")), IMAGES)
    best = min(run.history, key=lambda record: record["validation_loss"])
    assert run.epoch == best["epoch"]
    assert run.evaluate("validation")["loss"] == pytest.approx(best["validation_loss"], rel=1e-6)


def test_averaged_weights_are_validated_and_returned():
    optimizer = replace(CONFIG.optimizer, ema_decay=0.9, learning_rate=0.01)
    run = flaxae.train(replace(CONFIG, optimizer=optimizer), IMAGES)
    plain = flaxae.train(replace(CONFIG, optimizer=replace(optimizer, ema_decay=0.0)), IMAGES)
    best = min(run.history, key=lambda record: record["validation_loss"])
    assert run.evaluate("validation")["loss"] == pytest.approx(best["validation_loss"], rel=1e-6)
    assert run.history[0]["train_loss"] == plain.history[0]["train_loss"]
    assert run.history[0]["validation_loss"] != plain.history[0]["validation_loss"]
