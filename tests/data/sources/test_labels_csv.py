import csv
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxae.data.sources import labels_csv
from flaxae.data.sources.labels_csv import read_labels
from flaxae.errors import InputError
from tests.fixtures.fuzzing import fuzzed


def labels_file(folder, text):
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_old_line_ends_and_quotes_are_read(tmp_path):
    path = labels_file(tmp_path, 'file,label\r"a,\nb.png","say ""x"""\rc.png,d\r')
    assert read_labels(path) == {"a,\nb.png": 'say "x"', "c.png": "d"}


def test_blanks_around_a_label_are_left_out(tmp_path):
    assert read_labels(labels_file(tmp_path, "file,label\na, x\nb,x \n")) == {"a": "x", "b": "x"}


def test_a_label_may_be_repeated_but_not_changed(tmp_path):
    assert read_labels(labels_file(tmp_path, "file,label\na,x\n./a,x\n")) == {"a": "x"}
    with pytest.raises(InputError, match="line 3: a is y, and was x before"):
        read_labels(labels_file(tmp_path, "file,label\na,x\na,y\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; expected the two columns file,label"),
        ("label,file\n", "has the header label,file; expected .* first line .in this order"),
        ("file;label\n", "has the header file;label; expected .* .separated by a comma"),
        ("file\tlabel\n", r"has the header file\\tlabel; expected .* .separated by a comma"),
        ("file, label\n", "has the header file, label; expected .* .without blanks"),
        ("file,label,split\n", "has the header file,label,split; expected"),
        ("File,Label\n", "has the header File,Label; expected .* in small letters"),
        ("file,label\na.png\n", "line 2: got a.png; expected a file and a label"),
        ("file,label\na,b,c\n", "line 2: got a,b,c; expected a file and a label"),
        ("file,label\n\n\na.png,\n", "line 4: got a.png,; expected .* both not empty"),
        ("file,label\na.png, \n", "line 2: got a.png, ; expected .* both not empty"),
        ("file,label\n./,b\n", "line 2: got ./,b; expected .* both not empty"),
        ("file,label\n,b\n", "line 2: got ,b; expected .* both not empty"),
        ('file,label\na,"b"c\n', "line 2: .* expected CSV"),
        ('file,label\na,"b\n', "line 2: unexpected end of data; expected CSV"),
        ("file,label\na,b\n" + "x" * 200_000, "line 3: field larger than field limit"),
        ("file,label\n" + "x" * 2**20, "line 2 has no end"),
        (b"file,label\na,b\0\n", "line 2: a byte that is not UTF-8"),
        (b"file,label\na,b\nc,\xff\n", "line 3: a byte that is not UTF-8"),
        (b"file,label\n\xed\xa0\x80,b\n", "line 2: a byte that is not UTF-8"),
        ("file,label".encode("utf-16"), "line 1: a byte that is not UTF-8"),
    ],
)
def test_a_damaged_table_is_refused_with_its_line(tmp_path, content, message):
    limit = csv.field_size_limit()
    with pytest.raises(InputError, match=message):
        read_labels(labels_file(tmp_path, content))
    assert csv.field_size_limit() == limit


def test_what_is_no_table_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (
        ("pipe", "is no file of at most 1 GB"),
        (".", "is no file of at most 1 GB"),
        ("none", "No such file"),
        ("loop", "symbolic links"),
        ("a\0", "null byte"),
    ):
        with pytest.raises(InputError, match=message):
            read_labels(tmp_path / name)
    monkeypatch.setattr(labels_csv, "_MOST_BYTES", 5)
    with pytest.raises(InputError, match="is no file of at most 1 GB"):
        read_labels(labels_file(tmp_path, "file,label\na,b\n"))


CELLS = st.text(',"\n\r ./aé\u2028\ufeff', min_size=1, max_size=5)


@fuzzed(80)
@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from(["a", ",", '"', "\n", "\r", "\0", "é", "\ufeff", "./"])).map(
        lambda parts: "".join(parts).encode()
    ),
    st.sampled_from([b"", b"file,label\n", b'"file","label"\r\n']),
)
def test_bytes_are_a_table_or_refused(tmp_path_factory, content, header):
    path = labels_file(tmp_path_factory.getbasetemp(), header + content)
    try:
        labels = read_labels(path)
    except InputError:
        return
    assert all(labels)
    assert all(labels.values())


@fuzzed(50)
@given(st.dictionaries(CELLS, CELLS, max_size=5))
def test_a_written_table_is_read_back(tmp_path_factory, labels):
    labels = {
        name: label.strip()
        for name, label in labels.items()
        if not name.startswith("./") and label.strip()
    }
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("file", "label"), *labels.items()])
    path = labels_file(tmp_path_factory.getbasetemp(), text.getvalue())
    assert read_labels(path) == labels
