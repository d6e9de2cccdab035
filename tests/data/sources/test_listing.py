import os
import socket
from pathlib import Path

import numpy as np
import pytest

from flaxae.data.sources import listing
from flaxae.data.sources.listing import list_folder
from flaxae.errors import InputError


def make(root, *files):
    """Empty files, and folders for paths that end in a slash."""
    for file in files:
        path = root / file
        if file.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def labels_file(folder, text):
    path = folder / "labels.csv"
    path.write_text(text, newline="")
    return path


def classes(found):
    return {f: found.class_names[k] for f, k in zip(found.files, found.labels, strict=True)}


def refused(*arguments):
    """The message of the refusal, which is one printable line."""
    with pytest.raises(InputError) as caught:
        list_folder(*arguments)
    assert str(caught.value).isprintable()
    return str(caught.value)


# Which files.


def test_files_are_told_by_their_suffix_in_any_case(tmp_path):
    files = [f"{row}{suffix}" for row, suffix in enumerate(listing.SUFFIXES)]
    found = list_folder(make(tmp_path, *files, "x.PNG", "a.txt", "b.csv", "c", "d.png.gz"))
    assert found.files == tuple(sorted([*files, "x.PNG"]))
    assert found.remarks == ("4 files of other kinds left out, such as a.txt, b.csv, c.",)
    assert (found.labels, found.class_names, found.splits) == (None, (), None)
    assert found.root == tmp_path


def test_hidden_files_and_those_of_file_managers_are_left_out_silently(tmp_path):
    hidden = (".a.png", ".git/b.png", "__MACOSX/c.png", "Thumbs.db", ".DS_Store")
    found = list_folder(make(tmp_path, "a.png", *hidden))
    assert (found.files, found.remarks, found.labels) == (("a.png",), (), None)


def test_sizes_and_times_are_those_of_each_row(tmp_path):
    for row, name in enumerate(("b.png", "a.png", "c.png")):
        (tmp_path / name).write_bytes(b"x" * row)
        os.utime(tmp_path / name, ns=(0, 1_000_000_007 * row))
    stats = list_folder(tmp_path).stats
    assert stats.dtype == np.int64
    assert stats.tolist() == [[1, 1_000_000_007], [0, 0], [2, 2_000_000_014]]


def test_links_are_followed_to_files_inside_only(tmp_path):
    root = make(tmp_path / "root", "real/a.png", "real/.store/b", "list.txt")
    make(tmp_path, "outside.png", "root-beside/c.png")
    links = {
        "real/inside.png": root / "real/a.png",
        "real/relative.png": "a.png",
        "real/hidden.png": ".store/b",
        "real/outside.png": tmp_path / "outside.png",
        "real/prefix.png": tmp_path / "root-beside/c.png",
        "real/broken.png": root / "nothing.png",
        "real/loop.png": root / "real/loop.png",
        "real/folder.png": root / "real",
        "again": root,
        "text.txt": root / "list.txt",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    found = list_folder(root)
    assert [Path(f).name for f in found.files] == [
        "a.png",
        "hidden.png",
        "inside.png",
        "relative.png",
    ]
    assert found.remarks == (
        "2 files of other kinds left out, such as list.txt, text.txt.",
        "6 symbolic links not followed, such as again, real/broken.png, real/folder.png.",
    )


def test_a_root_that_is_a_link_is_followed(tmp_path):
    make(tmp_path / "real", "a.png")
    (tmp_path / "real/b.png").symlink_to("a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list_folder(tmp_path / "link").files == ("a.png", "b.png")


def test_special_files_are_not_images(tmp_path):
    make(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "s.png"))
    found = list_folder(tmp_path)
    assert found.files == ("a.png",)
    assert found.remarks == ("3 special files left out, such as link.png, pipe.png, s.png.",)


def test_names_that_are_no_utf8_are_kept_and_shown_escaped(tmp_path):
    make(tmp_path, "a\nb.txt", os.fsdecode(b"\xff.txt"), os.fsdecode(b"c\xff/\xe9.png"))
    found = list_folder(tmp_path)
    assert [os.fsencode(file) for file in found.files] == [b"c\xff/\xe9.png"]
    assert found.class_names == (os.fsdecode(b"c\xff"),)
    assert found.remarks == (r"2 files of other kinds left out, such as a\nb.txt, \udcff.txt.",)


def test_any_depth_is_listed(tmp_path):
    levels = 1100  # more than the limit of recursion
    os.mkdir(tmp_path / "c")
    opened = [os.open(tmp_path / "c", os.O_RDONLY)]
    for _ in range(levels):
        os.mkdir("d", dir_fd=opened[-1])
        opened.append(os.open("d", os.O_RDONLY, dir_fd=opened[-1]))
        os.close(opened.pop(0))
    os.close(os.open("a.png", os.O_CREAT | os.O_WRONLY, dir_fd=opened[0]))
    os.close(opened[0])
    found = list_folder(tmp_path)
    # Removed here, because pytest removes old folders by recursion, which fails.
    make(tmp_path, "end")
    os.remove(tmp_path / found.files[0])
    os.removedirs(os.path.dirname(tmp_path / found.files[0]))
    assert found.files == (f"c/{'d/' * levels}a.png",)
    assert found.class_names == ("c",)


def test_a_time_beyond_64_bits_is_clipped(tmp_path, monkeypatch):
    make(tmp_path, "a.png")
    (tmp_path / "late.png").symlink_to("a.png")
    real = os.stat

    def stat(path, **options):
        status = real(path, **options)
        if not str(path).endswith("late.png"):
            return status
        return os.stat_result(status[:10], {"st_mtime_ns": 2**70})

    monkeypatch.setattr(os, "stat", stat)
    assert list_folder(tmp_path).stats[1].tolist() == [0, 2**63 - 1]


# Refusals.


def test_no_folder_is_refused(tmp_path):
    make(tmp_path, "a.png")
    assert refused(tmp_path / "no\nne").endswith("does not exist; expected a folder of images")
    assert "is a file" in refused(tmp_path / "a.png")
    assert "does not exist" in refused(Path("a\0b"))


def test_a_folder_without_images_is_refused_with_what_it_holds(tmp_path):
    message = refused(make(tmp_path, "a.txt", "empty/"))
    assert "holds no image (1 file of other kinds left out, such as a.txt." in message
    assert message.endswith(".tif, .tiff, .gif")


def test_a_folder_that_cannot_be_read_is_refused_by_name(tmp_path, monkeypatch):
    make(tmp_path, "a/b.png", "sec\nret/c.png")
    real = os.scandir

    def scandir(path):
        if path.endswith("ret"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read every folder
    assert r"the folder sec\nret cannot be read (Permission denied)" in refused(tmp_path)


# Classes and splits.


def test_the_first_folder_is_the_class(tmp_path):
    found = list_folder(make(tmp_path, "b/x.png", "a/deep/er/y.png", "B/z.png", "b/deep/w.png"))
    assert found.class_names == ("B", "a", "b")
    assert classes(found) == {
        "b/deep/w.png": "b",
        "b/x.png": "b",
        "a/deep/er/y.png": "a",
        "B/z.png": "B",
    }
    assert found.labels.dtype == np.int32


def test_rows_are_in_the_order_of_the_file_names(tmp_path):
    found = list_folder(make(tmp_path, "b/1.png", "a/2.png", "a/10.png", "c/1.png", "c/Z.png"))
    assert found.files == ("b/1.png", "c/1.png", "a/10.png", "a/2.png", "c/Z.png")


def test_an_empty_class_folder_is_remarked(tmp_path):
    found = list_folder(make(tmp_path, "a/x.png", "b/", "c/d/", "e/notes.txt", "a/f/"))
    assert found.class_names == ("a",)
    assert found.remarks[-1] == "3 folders without images, such as b, c, e."


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_splits_come_first_in_the_order(tmp_path, name):
    files = ("test/cat/a.png", f"{name}/dog/b.png", "train/dog/c.png", "train/cat/d.png")
    found = list_folder(make(tmp_path, *files))
    assert found.files == ("train/dog/c.png", "train/cat/d.png", f"{name}/dog/b.png", files[0])
    assert found.splits.tolist() == [0, 0, 1, 2]
    assert found.splits.dtype == np.int8
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [1, 0, 1, 0]


def test_splits_need_neither_classes_nor_all_three(tmp_path):
    found = list_folder(make(tmp_path, "train/b.png", "test/a.png", "val/", "notes/a.txt"))
    assert found.splits.tolist() == [0, 2]
    assert found.labels is None
    assert found.remarks[-1] == "2 folders without images, such as notes, val."


def test_an_empty_class_folder_of_a_split_is_remarked(tmp_path):
    found = list_folder(make(tmp_path, "train/a/x.png", "test/a/x.png", "test/b/"))
    assert found.remarks == ("1 folder without images, such as test/b.",)


def test_files_beside_train_do_not_matter_unless_they_are_images(tmp_path):
    assert list_folder(make(tmp_path, "train/a.png", "readme.txt")).splits.tolist() == [0]


@pytest.mark.parametrize("beside", ["cat/b.png", "b.png", "Test/b.png"])
def test_images_beside_train_are_refused(tmp_path, beside):
    message = refused(make(tmp_path, "train/a.png", beside))
    assert f"images beside the split train, such as {beside.split('/')[0]}; " in message


def test_two_names_of_a_split_are_refused(tmp_path):
    make(tmp_path, "train/a.png", "val/b.png", "valid/c.png")
    assert "the folders val, valid, which mean one split" in refused(tmp_path)


@pytest.mark.parametrize("files", [("Train/a.png", "Test/b.png"), ("val/a.png", "test/b.png")])
def test_folders_named_almost_like_splits_are_no_classes(tmp_path, files):
    assert "named like splits but lack train" in refused(make(tmp_path, *files))


def test_a_class_may_be_named_like_a_split(tmp_path):
    assert list_folder(make(tmp_path, "test/a.png", "rest/b.png")).class_names == ("rest", "test")


@pytest.mark.parametrize("split", ["", "train/"])
def test_images_beside_class_folders_are_refused(tmp_path, split):
    make(tmp_path, f"{split}cat/a.png", f"{split}b.png")
    message = refused(tmp_path)
    assert f"1 image outside of them, such as {split}b.png; move them into a class" in message


# With a labels.csv.


def test_labels_come_from_the_table_alone(tmp_path):
    make(tmp_path, "a.png", "x/b.png", "x/ç.png")
    path = labels_file(tmp_path, "\ufefffile,label\r\n./a.png,2\r\n\r\nx/b.png, b \nx/ç.png,10\n")
    found = list_folder(tmp_path, path)
    assert classes(found) == {"a.png": "2", "x/b.png": "b", "x/ç.png": "10"}
    assert found.class_names == ("10", "2", "b")
    assert found.remarks == ()


def test_splits_stay_with_a_table(tmp_path):
    make(tmp_path, "train/x/a.png", "train/b.png", "test/c.png")
    path = labels_file(tmp_path, "file,label\ntrain/x/a.png,k\ntrain/b.png,k\ntest/c.png,l\n")
    found = list_folder(tmp_path, path)
    assert found.splits.tolist() == [0, 0, 2]
    assert found.labels.tolist() == [0, 0, 1]


def test_images_without_label_get_a_class_of_their_own(tmp_path):
    make(tmp_path, "a.png", "b.png", "c.png")
    path = labels_file(tmp_path, "file,label\nb.png,zebra\n")
    found = list_folder(tmp_path, path)
    assert found.class_names == ("zebra", "unlabeled")
    assert classes(found) == {"a.png": "unlabeled", "b.png": "zebra", "c.png": "unlabeled"}
    assert found.remarks == (
        f"2 images without a row in {path}, now of the class unlabeled, such as a.png, c.png.",
    )


def test_they_join_a_label_of_that_name(tmp_path):
    make(tmp_path, "a.png", "b.png", "c.png")
    found = list_folder(tmp_path, labels_file(tmp_path, "file,label\na.png,unlabeled\nb.png,z\n"))
    assert found.class_names == ("z", "unlabeled")
    assert found.labels.tolist() == [1, 0, 1]


def test_labels_without_a_file_are_remarked_and_make_no_class(tmp_path):
    make(tmp_path / "in", "a.png")
    make(tmp_path, "b.png")
    rows = f"a.png,x\n../b.png,y\n{tmp_path}/in/a.png,y\nin\\a.png,y\n"
    path = labels_file(tmp_path, f"file,label\n{rows}")
    found = list_folder(tmp_path / "in", path)
    assert found.class_names == ("x",)
    assert found.remarks[0].startswith(f"3 labels without a file in {path}, such as ../b.png, /")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,x\n", r"labels.csv names a, and none of the images, such as a.png"),
        ("", r"has no rows, and none of"),
    ],
)
def test_a_table_of_other_files_is_refused(tmp_path, rows, message):
    path = labels_file(tmp_path, f"file,label\n{rows}")
    with pytest.raises(InputError, match=message):
        list_folder(make(tmp_path, "a.png"), path)
