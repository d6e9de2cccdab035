import os

from hypothesis import given, settings
from hypothesis import strategies as st

from flaxae.data.file_names import ascii_name, counted, escaped, picture_name, printable, some

ANY_TEXT = st.text("a\n\t\0\x1b\u2028\udc80é ") | st.text().map(lambda text: text * 50)


@settings(deadline=None, max_examples=30)
@given(ANY_TEXT)
def test_any_text_becomes_printable(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 160
    shown.encode()


def test_a_long_name_is_whole_in_a_table_and_cut_in_a_message():
    name = "a" * 100 + "é" * 100
    assert escaped(name) == name
    assert ascii_name(name) == "a" * 100 + r"\xe9" * 100
    assert printable(name) == "a" * 77 + "..." + "é" * 80
    assert printable(name[:160]) == name[:160]


def test_bytes_that_are_no_utf8_are_escaped():
    name = os.fsdecode(b"a\nb\xff")
    assert escaped(name) == printable(name) == ascii_name(name) == r"a\nb\udcff"


def test_of_many_names_the_first_are_shown():
    assert some([]) == ""
    assert some(name for name in ("d", "c\n", "b", "a")) == r"a, b, c\n"


def test_nouns_are_counted():
    assert [counted(count, "file") for count in range(3)] == ["0 files", "1 file", "2 files"]


@settings(deadline=None, max_examples=30)
@given(ANY_TEXT)
def test_a_picture_name_is_one_plain_name(text):
    name = picture_name(12, f"../cats/{text}.jpg")
    assert name.startswith("12_")
    assert name.endswith(".png")
    assert name.isascii()
    assert len(name) <= 107
    assert os.path.basename(name) == name


def test_pictures_of_images_without_a_name_have_their_row():
    assert picture_name(3, None) == "3.png"
