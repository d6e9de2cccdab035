"""What a user does with images of their own, from the folder to pictures and exports."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import flaxae
from flaxae.commands import main as cli
from tests.fixtures.viewer_rules import read_metadata

RNG = np.random.default_rng(0)
SMALL = ["--filters", "3", "2", "--batch-size", "16", "--compilation-cache", "off", "--no-report"]


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def blots(count, shape=(16, 12, 3)):
    """Pictures of one color each, with noise."""
    colors = RNG.integers(40, 200, (count, 1, 1, shape[2]))
    return (colors + RNG.integers(0, 40, (count, *shape))).astype(np.uint8)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAXAE_STORE_DIR", str(tmp_path / "store"))
    for row, image in enumerate(blots(70)):
        save(tmp_path / "photos" / ("ant", "bee")[row % 2] / f"{row:02} ü.png", image)
    return tmp_path / "photos"


def command(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture
def run(photos):
    assert command("train", "--dataset", "photos/", "--epochs", 1, *SMALL) == 0
    return photos.parent / "runs" / "convolutional-photos"


def test_a_folder_is_trained_and_its_run_keeps_an_absolute_path(run, photos, capsys):
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["dataset"] == str(photos)
    assert flaxae.load(run).image_shape == (16, 12, 3)
    assert command("train", "--dataset", photos, "--epochs", 1, "--workdir", run, *SMALL) == 0
    assert "trained for 1 epoch already" in capsys.readouterr().out


def test_where_the_store_lies_is_said_on_stderr(photos, capfd):
    assert command("train", "--dataset", "photos", "--epochs", 1, *SMALL) == 0
    line = next(line for line in capfd.readouterr().err.splitlines() if "are in the store" in line)
    assert line.startswith(f"note: 70 images of {photos} are in the store: {photos.parent}/store/")


def test_every_flag_of_decoding(photos):
    flags = """--image-size 9 10 --channels 1 --fit pad --background 1 2 3 --bad-files 0.2
        --range 0 4095 --store-dir elsewhere --workdir flags --data-on-device"""
    words = flags.split()
    assert command("train", "--dataset", "photos/", "--epochs", 1, *SMALL, *words) == 0
    config = flaxae.load("flags").config
    assert (config.data.image_size, config.data.channels) == ((9, 10), 1)
    assert (config.data.fit, config.data.background) == ("pad", (1, 2, 3))
    assert config.data.range == (0.0, 4095.0)
    assert config.device.data_on_device == "on"
    assert (photos.parent / "elsewhere").is_dir()


def test_a_changed_folder_is_not_gone_on_with(run, photos, capsys):
    for row, image in enumerate(blots(20)):
        save(photos / "ant" / f"new{row}.png", image)
    assert command("train", "--dataset", photos, "--epochs", 1, "--workdir", run, *SMALL) == 2
    error = capsys.readouterr().err
    assert "was trained on other images (train had" in error
    assert "another --workdir" in error


def test_a_run_inside_the_folder_of_its_images_is_refused(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    assert command("train", "--dataset", ".", "--epochs", 1, *SMALL) == 2
    error = capsys.readouterr().err
    assert f"--workdir got {photos}/runs/convolutional-photos, in the images' folder" in error
    assert not (photos / "runs").exists()


def test_an_export_inside_the_folder_of_the_images_is_refused(run, photos, capsys):
    before = sorted(photos.iterdir())
    for words in (["--images", photos], []):
        capsys.readouterr()
        assert command("embed", "--workdir", run, *words, "--output-dir", photos / "map") == 2
        assert "in the images' folder" in capsys.readouterr().err
    assert sorted(photos.iterdir()) == before


def test_readers_refuse_a_folder_that_has_changed(run, photos, capsys):
    (photos / "ant" / "00 ü.png").unlink()
    for name in ("evaluate", "embed", "reconstruct"):
        assert command(name, "--workdir", run) == 2
        error = capsys.readouterr().err
        assert "was trained on other images" in error
        assert "--images to look at others" in error
    assert command("evaluate", "--workdir", run, "--images", photos) == 0


def test_images_that_were_moved_are_missed_by_name(run, photos, capsys):
    save(photos.parent / "new" / "a.png", blots(1)[0])
    photos.rename(photos.parent / "elsewhere")
    gone = f"{run} was trained on {photos}, which does not exist any more; put the images back"
    assert command("evaluate", "--workdir", run) == 2
    assert gone in capsys.readouterr().err
    assert command("evaluate", "--workdir", run, "--images", "new") == 0
    assert command("score", "--workdir", run, "--images", "new") == 2
    error = capsys.readouterr().err
    assert gone in error
    assert error.endswith("needs the run's own images once, unless it was trained with --scoring\n")


def test_renamed_classes_are_not_gone_on_with(run, photos, capsys):
    (photos / "ant").rename(photos / "zebra")
    for words in (("train", "--dataset", photos, "--epochs", 1, *SMALL), ("evaluate",)):
        assert command(*words, "--workdir", run) == 2
        error = capsys.readouterr().err
        assert "their classes were ant, bee and are bee, zebra" in error


def test_a_note_on_new_images_is_said_once(run, tmp_path, capfd):
    save(tmp_path / "new" / "a.png", blots(1)[0])
    (tmp_path / "new" / "b.png").write_bytes(b"no image")
    capfd.readouterr()
    assert command("evaluate", "--workdir", run, "--images", "new") == 0
    assert capfd.readouterr().err.count("hold no image that can be read") == 1


def test_a_folder_of_any_name_is_a_dataset(photos):
    photos.rename(photos.parent / "my-photos of 2024")
    words = ("--dataset", "my-photos of 2024", "--epochs", 1)
    assert command("train", *words, *SMALL) == 0
    assert (photos.parent / "runs" / "convolutional-my-photos of 2024").is_dir()


def test_new_images_are_embedded_with_their_file_names(run, tmp_path):
    for row, image in enumerate(blots(5, (30, 30, 3))):
        save(tmp_path / "new" / f"{row}\tä.png", image)
    out = tmp_path / "out"
    assert command("embed", "--workdir", run, "--images", "new/", "--output-dir", out) == 0
    header, rows = read_metadata(out / "metadata.tsv")
    assert header == ["index", "reconstruction_error", "file"]
    assert [row[-1] for row in rows] == [rf"{row}\t\xe4.png" for row in range(5)]
    table = pq.read_table(out / "embedding.parquet")
    assert table["file"].to_pylist() == [rf"{row}\tä.png" for row in range(5)]


def test_new_images_are_reconstructed_one_picture_each(run, tmp_path, capsys):
    images = blots(3)
    for name, image in zip(("a/x.png", "b/x.png", "b/../c d.png"), images, strict=True):
        save(tmp_path / "new" / "z" / name, image)
    out = tmp_path / "out"
    words = ("reconstruct", "--workdir", run, "--images", "new", "--output-dir", out)
    assert command(*words) == 0
    assert sorted(path.name for path in out.iterdir()) == ["0_c_d.png", "1_x.png", "2_x.png"]
    reconstructed = flaxae.load(run).reconstruct(images[2][None])[0]
    np.testing.assert_allclose(
        np.asarray(Image.open(out / "0_c_d.png")), reconstructed * 255, atol=0.51
    )
    assert "3 pictures in" in capsys.readouterr().out
    assert command(*words) == 0  # replaces its own pictures
    save(out / "1_x.png", images[0])  # a picture of somebody else
    assert command(*words) == 2
    assert "1_x.png was not written by flaxae" in capsys.readouterr().err
    np.testing.assert_array_equal(np.asarray(Image.open(out / "1_x.png")), images[0])


@pytest.mark.parametrize("out", ["photos", "photos/ant/new", "new"])
def test_pictures_are_not_put_among_images(run, photos, tmp_path, capsys, out):
    save(tmp_path / "new" / "a.png", blots(1)[0])
    words = ("--workdir", run, "--images", "new", "--output-dir", out)
    assert command("reconstruct", *words) == 2
    assert "pictures there would be taken for images" in capsys.readouterr().err
    assert len([*tmp_path.rglob("[0-9]_*.png")]) == 0


@pytest.mark.parametrize("output", ["photos/x.png", "photos/ant/new/x.png", "new/x.jpg"])
def test_a_picture_is_not_put_among_images(run, tmp_path, capsys, output):
    save(tmp_path / "new" / "a.png", blots(1)[0])
    words = ("--workdir", run, "--images", "new", "--output", output)
    assert command("reconstruct", *words) == 2
    error = capsys.readouterr().err
    assert f"--output got {tmp_path / output}, in the images' folder" in error
    assert "pictures there would be taken for images" in error
    assert not (tmp_path / output).exists()


def test_evaluate_takes_images(run, tmp_path, capsys):
    np.save(tmp_path / "new.npy", blots(4))
    capsys.readouterr()
    assert command("evaluate", "--workdir", run, "--images", "new.npy") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["split"] == "images"
    assert result["examples"] == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", ""], "--images got an empty text; expected a value"),
        (["--images", "absent/"], "absent"),
        (["--images", "empty"], "empty"),
        (["--images", "x.npy"], "x.npy has images of 7x5x1; this run has 16x12x3"),
    ],
)
def test_images_that_cannot_be_used_are_one_line(run, tmp_path, capsys, words, message):
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "x.npy", np.full((9, 7, 5), 99, np.uint8))
    for name in ("evaluate", "reconstruct", "embed"):
        capsys.readouterr()
        assert command(name, "--workdir", run, *words) == 2
        (line,) = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("note")]
        assert line.startswith("flaxae: error: ")
        assert message in line


def test_python_takes_a_path(photos, tmp_path):
    config = flaxae.TrainConfig(model=flaxae.ConvolutionalConfig(filters=(3, 2)), epochs=1)
    by_path = flaxae.train(flaxae.TrainConfig(**vars(config) | {"workdir": "one"}), "photos")
    assert by_path.class_names == ("ant", "bee")
    assert by_path.evaluate(images=photos)["examples"] == 70


def test_pairs_of_noisy_and_clean_images_are_trained(photos, tmp_path, capfd):
    for path in photos.rglob("*.png"):
        image = np.asarray(Image.open(path))
        save(tmp_path / "clean" / path.relative_to(photos), 255 - image)
    words = ("--dataset", "photos/", "--targets", "clean", "--epochs", 1, "--workdir", "pairs")
    assert command("train", *words, *SMALL) == 0
    split = flaxae.load("pairs").splits["test"]
    np.testing.assert_array_equal(split.targets, 255 - np.asarray(split.images))
    capfd.readouterr()
    assert command("evaluate", "--workdir", "pairs", "--images", "photos") == 0
    assert "the images have no targets, and are compared with" in capfd.readouterr().err


def test_the_store_is_listed_and_pruned(run, photos, capsys):
    capsys.readouterr()
    assert command("data", "--list") == 0
    out = capsys.readouterr().out
    assert "70x16x12x3" in out
    assert "complete" in out
    for path in photos.rglob("*.png"):
        path.unlink()
    (photos / "ant").rmdir()
    (photos / "bee").rmdir()
    photos.rmdir()
    assert command("data", "--prune") == 0
    assert "deleted: 1 in" in capsys.readouterr().out
    assert command("data") == 2
    assert "one of --list and --prune" in capsys.readouterr().err


def test_the_same_pixels_by_another_way_give_the_same_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAXAE_STORE_DIR", str(tmp_path / "store"))
    images = blots(60, (10, 10, 1))[..., 0]
    parts = {"train": images[:40], "validation": images[40:50], "test": images[50:]}
    for name, part in parts.items():
        for row, image in enumerate(part):
            save(tmp_path / "folder" / name / "ba"[row % 2] / f"{row:03}.png", image)
    np.savez("arrays.npz", **{f"{name}_images": part for name, part in parts.items()})
    records, stored = [], []
    for dataset in ("folder/", "arrays.npz"):
        words = ("--dataset", dataset, "--epochs", 2, "--workdir", f"run-{dataset.strip('/')}")
        assert command("train", *words, *SMALL) == 0
        history = flaxae.load(words[-1]).history
        records.append([{k: v for k, v in r.items() if k not in TIMES} for r in history])
        stored.append(flaxae.load(words[-1]).splits["train"].images.folder / "images.u8")
    assert records[0] == records[1]
    assert stored[0].read_bytes() == stored[1].read_bytes()


TIMES = ("seconds", "images_per_second")
