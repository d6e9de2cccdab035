"""Counts of a small program by hand; arrays of 1,024 floats are 4 KiB."""

import pytest

from benchmarks.common.launches import count

PROGRAM = """HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}

%sliced (p0: f32[1024], p1: s32[]) -> f32[256] {
  %p0 = f32[1024]{0} parameter(0)
  %p1 = s32[] parameter(1)
  %cut = f32[256]{0} dynamic-slice(%p0, %p1), dynamic_slice_sizes={256}
  ROOT %negated = f32[256]{0} negate(%cut)
}

%doubled (p2: f32[1024]) -> (f32[1024], f32[1024]) {
  %p2 = f32[1024]{0} parameter(0)
  %twice = f32[1024]{0} add(%p2, %p2)
  ROOT %both = (f32[1024]{0}, f32[1024]{0}) tuple(%twice, %p2)
}

%body (state: (s32[], f32[1024])) -> (s32[], f32[1024]) {
  %state = (s32[], f32[1024]{0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[1024]{0} get-tuple-element(%state), index=1
  %part = f32[256]{0} fusion(%x, %i), kind=kLoop, calls=%sliced
  %moved = f32[1024]{0} copy(%x)
  ROOT %next = (s32[], f32[1024]{0}) tuple(%i, %moved)
}

%condition (state.1: (s32[], f32[1024])) -> pred[] {
  %state.1 = (s32[], f32[1024]{0}) parameter(0)
  ROOT %always = pred[] constant(true)
}

ENTRY %main (x.1: f32[1024], i.1: s32[]) -> f32[1024] {
  %x.1 = f32[1024]{0} parameter(0)
  %i.1 = s32[] parameter(1)
  %pair = (f32[1024]{0}, f32[1024]{0}) fusion(%x.1), kind=kLoop, calls=%doubled
  %first = f32[1024]{0} get-tuple-element(%pair), index=0
  %call = (f32[1024]{0}, u8[0]{0}) custom-call(%first, %x.1), custom_call_target="__cudnn$x"
  %y = f32[1024]{0} get-tuple-element(%call), index=0
  %start = (s32[], f32[1024]{0}) tuple(%i.1, %y)
  %loop = (s32[], f32[1024]{0}) while(%start), condition=%condition, body=%body
  ROOT %z = f32[1024]{0} get-tuple-element(%loop), index=1
}
"""


def test_a_program_with_its_loop_once():
    found = count(PROGRAM)
    assert (found.kernels, found.library_calls, found.copies) == (2, 1, 1)
    assert found.total == 4
    assert found.library_bytes == 3 * 4096
    # The pair reads one array and writes two; the loop reads and writes a quarter, and copies.
    assert found.kernel_bytes == 3 * 4096 + (2 * 1024 + 4) + 2 * 4096
    assert found.bytes == found.kernel_bytes + found.library_bytes


def test_one_iteration_of_the_loop():
    found = count(PROGRAM, loop=True)
    assert (found.kernels, found.library_calls, found.copies) == (1, 0, 1)
    assert found.bytes == (2 * 1024 + 4) + 2 * 4096


def test_a_program_without_a_loop_has_no_iteration():
    with pytest.raises(ValueError, match="empty"):
        count(PROGRAM.split("ENTRY")[0], loop=True)
