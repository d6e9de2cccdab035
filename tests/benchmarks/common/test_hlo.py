from pathlib import Path

import pytest

from benchmarks.common.hlo import Program, Shape, parse, same_instructions

_DATA = Path(__file__).parents[2] / "fixtures/programs"


def _program(name: str) -> Program:
    return parse((_DATA / f"hlo_{name}.txt").read_text())


def _line(text: str) -> Program:
    return parse(f"ENTRY %main {{\n  %x = f32[2,3,4,5]{{3,2,1,0}} parameter(0)\n  {text}\n}}\n")


@pytest.mark.parametrize(
    ("dtype", "sizes", "expected"),
    [("f32", (2, 3), 24), ("bf16", (5,), 10), ("pred", (7,), 7), ("s4", (3,), 2), ("f32", (), 4)],
)
def test_bytes_of_a_shape(dtype: str, sizes: tuple[int, ...], expected: int):
    assert Shape(dtype, sizes, tuple(reversed(range(len(sizes))))).bytes == expected


def test_the_same_instructions_under_other_names():
    one = '%a.1 = f32[2,3,4,5]{3,2,1,0} negate(%x), metadata={op_name="a"}'
    other = '%b = f32[2,3,4,5]{3,2,1,0} negate(%x), metadata={op_name="b"}'
    assert same_instructions(_line(one), _line(other))
    assert not same_instructions(_line(one), _line(one.replace("{3,2,1,0}", "{2,1,3,0}")))
    assert not same_instructions(_program("cpu_nhwc"), _program("cpu_nchw"))
