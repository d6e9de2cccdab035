import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from flaxae.data import DataConfig
from flaxae.data.sources import open_images, open_source, resolve_dataset
from flaxae.data.splits import SPLITS
from flaxae.errors import InputError

RNG = np.random.default_rng(0)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(path)


def pictures(count, shape=(8, 9, 3)):
    return RNG.integers(0, 256, (count, *shape), np.uint8)


@pytest.fixture
def photos(tmp_path):
    """60 colored pictures in the classes ant and bee."""
    images = pictures(60)
    for row, image in enumerate(images):
        save(tmp_path / "photos" / ("ant", "bee")[row % 2] / f"{row:02}.png", image)
    return tmp_path / "photos", images


@pytest.fixture
def config(tmp_path):
    return DataConfig(dataset=str(tmp_path / "photos"), store_dir=str(tmp_path / "store"))


def joined(splits):
    return {
        name: image.tobytes()
        for name, image in (
            pair
            for split in splits.values()
            for pair in zip(split.files, split.images, strict=True)
        )
    }


def test_sub_folders_are_classes_and_files_keep_their_names(photos, config):
    splits = open_source(config).splits()
    found = joined(splits)
    assert found == {
        f"{('ant', 'bee')[row % 2]}/{row:02}.png": image.tobytes()
        for row, image in enumerate(photos[1])
    }
    for split in splits.values():
        assert split.class_names == ("ant", "bee")
        assert [split.class_names[label] for label in split.labels] == [
            name.split("/")[0] for name in split.files
        ]


def test_further_files_move_none_of_the_others(photos, config):
    before = {name: set(split.files) for name, split in open_source(config).splits().items()}
    for row, image in enumerate(pictures(40)):
        save(photos[0] / "ant" / f"new{row}.png", image)
    after = {name: set(split.files) for name, split in open_source(config).splits().items()}
    for name in SPLITS:
        assert {file for file in after[name] if "new" not in file} == before[name]


def test_copies_stay_together_and_are_counted(photos, config, caplog):
    for row in range(10):
        shutil.copy(photos[0] / "ant" / "00.png", photos[0] / "bee" / f"copy{row}.png")
    splits = open_source(config).splits()
    homes = [n for n, split in splits.items() for f in split.files if "copy" in f or "00" in f]
    assert len(homes) == 11
    assert len(set(homes)) == 1
    assert "10 images have the pixels of another, such as" in caplog.text


def test_folders_say_the_splits(tmp_path, config):
    images = pictures(30)
    for row, image in enumerate(images):
        split = ("train", "train", "validation", "test", "train")[row % 5]
        save(tmp_path / "photos" / split / "ab"[row % 2] / f"{row:02}.png", image)
    splits = open_source(config).splits()
    assert {name: len(split.files) for name, split in splits.items()} == {
        "train": 18,
        "validation": 6,
        "test": 6,
    }
    rows = [int(name[-6:-4]) for name in splits["train"].files]
    assert rows == sorted(rows)
    np.testing.assert_array_equal(splits["test"].images, images[3::5])


def test_a_split_that_is_lacking_is_held_out_of_train(tmp_path, config):
    for row, image in enumerate(pictures(80)):
        save(tmp_path / "photos" / ("train", "test")[row % 4 == 3] / f"{row}.png", image)
    splits = open_source(config).splits()
    assert len(splits["test"].files) == 20
    assert 0 < len(splits["validation"].files) < 20
    assert all(name.startswith("train/") for name in splits["validation"].files)


def test_sizes_that_differ_are_refused_with_two_files(photos, config):
    save(photos[0] / "ant" / "zz.png", pictures(1, (5, 5, 3))[0])
    with pytest.raises(InputError, match=r"00\.png has 8x9 and .*zz\.png has 5x5.*--image-size"):
        open_source(config).splits()


def test_a_size_that_only_decoding_meets_is_refused(photos, config, monkeypatch):
    monkeypatch.setattr("flaxae.data.sources.folder._PROBED", 2)
    save(photos[0] / "ant" / "05.png", pictures(1, (5, 5, 3))[0])
    with pytest.raises(InputError, match=r"05\.png has 5x5"):
        open_source(config).splits()


def test_the_image_size_is_an_option_of_the_entry(photos, config):
    small = open_source(replace(config, image_size=(4, 6), channels=1)).splits()
    assert small["train"].image_shape == (4, 6, 1)
    assert open_source(config).splits()["train"].image_shape == (8, 9, 3)
    assert small["train"].images.folder != open_source(config).splits()["train"].images.folder


def test_a_gray_folder_has_one_channel(tmp_path, config):
    for row, image in enumerate(pictures(40, (5, 5, 1))):
        save(tmp_path / "photos" / f"{row}.png", image)
    split = open_source(config).splits()["train"]
    assert split.image_shape == (5, 5, 1)
    assert split.labels is None


def test_color_that_was_not_looked_at_is_not_made_gray(tmp_path, config, monkeypatch):
    monkeypatch.setattr("flaxae.data.sources.folder._PROBED", 2)
    for row, image in enumerate(pictures(40, (5, 5, 1))):
        save(tmp_path / "photos" / f"{row:02}.png", image)
    save(tmp_path / "photos" / "07.png", pictures(1, (5, 5, 3))[0])
    with pytest.raises(InputError, match=r"07\.png is in color.*--channels 3"):
        open_source(config).splits()
    assert open_source(replace(config, channels=3)).splits()["train"].image_shape == (5, 5, 3)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("x.npy", {"targets": "clean"}, "--targets is for a folder of images, and .*an array file"),
        ("mnist_5k", {"image_size": (4, 4)}, "--image-size is for .* is a dataset by name"),
        ("mnist_5k", {"range": (0.0, 9.0)}, "--range is for a folder of images or an array file"),
        ("photos/", {"images_key": "x"}, "--images-key is for an array file"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(dataset, options, message):
    with pytest.raises(InputError, match=message):
        open_source(DataConfig(dataset=dataset, **options))


def test_other_targets_are_another_dataset(photos, config, tmp_path):
    for row, image in enumerate(photos[1]):
        save(tmp_path / "clean" / ("ant", "bee")[row % 2] / f"{row:02}.png", 255 - image)
    paired = replace(config, targets=str(tmp_path / "clean"))
    before = open_source(paired).digest()
    save(tmp_path / "clean" / "ant" / "00.png", pictures(1)[0])
    assert open_source(paired).digest() != before


def test_bad_files_are_named_and_too_many_stop(photos, config, caplog):
    (photos[0] / "ant" / "torn.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1 of 61 files hold no image.*ant/torn\.png.*0\.01"):
        open_source(config).splits()
    splits = open_source(replace(config, bad_files=0.1)).splits()
    assert "ant/torn.png" in caplog.text
    assert "left out" in caplog.text
    assert sum(len(split.files) for split in splits.values()) == 60


def test_only_changed_files_are_decoded_again(photos, config, monkeypatch):
    import flaxae.data.sources.folder as module

    open_source(config).splits()
    changed = pictures(1)[0]
    save(photos[0] / "ant" / "02.png", changed)
    decoded = []
    decode = module.decode
    monkeypatch.setattr(module, "decode", lambda p, how: decoded.append(p.name) or decode(p, how))
    found = joined(open_source(config).splits())
    assert decoded == ["02.png"]
    assert found["ant/02.png"] == changed.tobytes()
    assert found["bee/01.png"] == photos[1][1].tobytes()


def test_the_digest_follows_the_pixels(photos, config):
    before = open_source(config).digest()
    assert open_source(config).digest() == before
    save(photos[0] / "ant" / "02.png", pictures(1)[0])
    assert open_source(config).digest() != before


def test_targets_are_paired_by_name(photos, config, tmp_path):
    for row, image in enumerate(photos[1]):
        save(tmp_path / "clean" / ("ant", "bee")[row % 2] / f"{row:02}.png", 255 - image)
    splits = open_source(replace(config, targets=str(tmp_path / "clean"))).splits()
    for split in splits.values():
        np.testing.assert_array_equal(split.targets, 255 - np.asarray(split.images))


def test_labels_come_from_a_table(photos, config, tmp_path):
    table = tmp_path / "labels.csv"
    lines = [f"{('ant', 'bee')[row % 2]}/{row:02}.png,{'xyz'[row % 3]}" for row in range(60)]
    table.write_text("\n".join(["file,label", *lines]))
    split = open_source(replace(config, labels=str(table))).splits()["train"]
    assert split.class_names == ("x", "y", "z")
    for name, label in zip(split.files, split.labels, strict=True):
        assert label == int(name[-6:-4]) % 3


def test_too_few_images_for_three_splits_are_refused(tmp_path, config):
    save(tmp_path / "photos" / "one.png", pictures(1)[0])
    with pytest.raises(InputError, match=r"no image is in the split .* \(1 image in all\)"):
        open_source(config).splits()


def test_new_images_get_the_shape_of_the_run(photos, config, tmp_path):
    for row, image in enumerate(pictures(3, (20, 10, 3))):
        save(tmp_path / "new" / f"{row}.png", image)
    split = open_images(str(tmp_path / "new"), config, (8, 9, 3))
    assert split.images.shape == (3, 8, 9, 3)
    assert split.files == ("0.png", "1.png", "2.png")


def test_new_images_need_no_order_in_their_folder(config, tmp_path):
    image = next(iter(pictures(1, (8, 9, 3))))
    for name in ("loose.png", "test/b.png", "training/c.png"):
        save(tmp_path / "new" / name, image)
    split = open_images(str(tmp_path / "new"), config, (8, 9, 3))
    assert split.files == ("test/b.png", "training/c.png", "loose.png")
    assert split.labels is None


def test_classes_of_new_images_are_kept(config, tmp_path):
    image = next(iter(pictures(1, (8, 9, 3))))
    for name in ("cat/a.png", "ant/b.png"):
        save(tmp_path / "new" / name, image)
    split = open_images(str(tmp_path / "new"), config, (8, 9, 3))
    assert (split.class_names, split.labels.tolist()) == (("ant", "cat"), [1, 0])


def test_splits_of_new_images_are_taken_together(config, tmp_path):
    image = next(iter(pictures(1, (8, 9, 3))))
    for name in ("train/ant/b.png", "test/cat/a.png", "val/ant/c.png"):
        save(tmp_path / "new" / name, image)
    split = open_images(str(tmp_path / "new"), config, (8, 9, 3))
    assert (split.class_names, split.labels.tolist()) == (("ant", "cat"), [1, 0, 0])


def test_new_images_that_cannot_be_read_are_left_out_however_many(config, tmp_path, caplog):
    save(tmp_path / "new" / "a.png", next(iter(pictures(1, (8, 9, 3)))))
    for name in "bc":
        (tmp_path / "new" / f"{name}.png").write_bytes(b"no image")
    split = open_images(str(tmp_path / "new"), config, (8, 9, 3))
    assert split.files == ("a.png",)
    assert "2 of 3 files hold no image that can be read: b.png" in caplog.text
    (tmp_path / "new" / "a.png").unlink()
    with pytest.raises(InputError, match="hold no image that can be read"):
        open_images(str(tmp_path / "new"), config, (8, 9, 3))
    with pytest.raises(InputError, match="images got ''"):
        open_images("", config, (8, 9, 3))


def test_a_new_image_may_be_one_file(config, tmp_path):
    for name, image in zip("ab", pictures(2, (8, 9, 3)), strict=True):
        save(tmp_path / f"{name}.png", image)
    folder = open_images(str(tmp_path), config, (8, 9, 3))
    split = open_images(str(tmp_path / "b.png"), config, (8, 9, 3))
    assert split.files == ("b.png",)
    np.testing.assert_array_equal(split.images[0], folder.images[1])
    with pytest.raises(InputError, match=r"none\.png does not exist"):
        open_images(str(tmp_path / "none.png"), config, (8, 9, 3))


@pytest.mark.parametrize("form", ["photos/", "./photos", "photos"])
def test_a_path_becomes_absolute(photos, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    assert resolve_dataset(form) == str(tmp_path / "photos")


def test_a_name_stays_and_a_name_of_both_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_dataset("mnist_5k") == "mnist_5k"
    (tmp_path / "mnist_5k").mkdir()
    with pytest.raises(InputError, match=r"\./mnist_5k for the files, or tfds:mnist_5k"):
        resolve_dataset("mnist_5k")
    assert resolve_dataset("tfds:mnist_5k") == "tfds:mnist_5k"
    (tmp_path / "mnist").mkdir()  # a name that TFDS knows
    with pytest.raises(InputError, match="tfds:mnist"):
        resolve_dataset("mnist")
