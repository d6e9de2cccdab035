import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.common.timing import calls_per_sample, interleave


class Machine:
    """A clock that only moves where a fake variant works, and a diary of what happened."""

    def __init__(self, **seconds: float) -> None:
        self.now = 0.0
        self.diary: list[tuple[str, object]] = []
        self.variants = {name: self._variant(name, each) for name, each in seconds.items()}

    def _variant(self, name: str, seconds: float):
        def run(batch: object) -> tuple[str, float]:
            self.diary.append((name, batch))
            return name, seconds  # dispatched, not done: `block` waits for it

        return run

    def block(self, result: tuple[str, float]) -> None:
        name, seconds = result
        self.now += seconds
        self.diary.append(("block", name))

    def clock(self) -> float:
        return self.now

    def interleave(self, inputs, **settings) -> dict[str, list[float]]:
        return interleave(self.variants, inputs, block=self.block, clock=self.clock, **settings)

    def calls(self) -> list[tuple[str, object]]:
        return [entry for entry in self.diary if entry[0] != "block"]


def test_variants_alternate_and_every_sample_blocks():
    machine = Machine(A=1, B=2)
    machine.interleave(["x"], repeats=2, warmup=0)
    names = [name if name != "block" else f"block {what}" for name, what in machine.diary]
    assert names == ["A", "block A", "B", "block B"] * 2


def test_a_sample_includes_the_time_of_blocking():
    assert Machine(A=1, B=2.5).interleave(["x"], repeats=3) == {"A": [1] * 3, "B": [2.5] * 3}


def test_warm_up_runs_and_is_not_counted():
    seconds = {"A": 100.0}
    machine = Machine()

    def slow_at_first(batch: object) -> tuple[str, float]:
        machine.diary.append(("A", batch))
        return "A", seconds["A"]

    def block(result: tuple[str, float]) -> None:
        machine.block(result)
        seconds["A"] = 1.0 if len(machine.calls()) >= 3 else 100.0

    samples = interleave(
        {"A": slow_at_first}, ["x"], repeats=4, warmup=3, block=block, clock=machine.clock
    )
    assert samples == {"A": [1.0] * 4}
    assert len(machine.calls()) == 7


def test_inputs_rotate_and_neighbors_have_different_ones():
    machine = Machine(A=1, B=1)
    machine.interleave(["w", "x", "y", "z"], repeats=5, warmup=0)
    batches = [batch for _, batch in machine.calls()]
    assert batches[0::2] == list("wxyzw")  # A
    assert batches[1::2] == list("yzwxy")  # B


def test_a_sample_of_several_calls_is_their_mean_and_rotates_within():
    machine = Machine(A=6)
    assert machine.interleave(["x", "y"], repeats=2, warmup=0, calls=3) == {"A": [2, 2]}
    assert [batch for _, batch in machine.calls()] == ["x", "y", "x", "y", "x", "y"]
    assert machine.diary.count(("block", "A")) == 2


@given(
    repeats=st.integers(1, 9),
    warmup=st.integers(0, 5),
    calls=st.integers(1, 4),
    inputs=st.integers(1, 5),
    variants=st.integers(1, 3),
)
def test_counts(repeats: int, warmup: int, calls: int, inputs: int, variants: int):
    machine = Machine(**{f"v{index}": 1 for index in range(variants)})
    samples = machine.interleave(range(inputs), repeats=repeats, warmup=warmup, calls=calls)
    assert [len(each) for each in samples.values()] == [repeats] * variants
    assert len(machine.calls()) == (repeats + warmup) * calls * variants


@pytest.mark.parametrize(
    ("settings", "inputs"),
    [({"repeats": 0}, ["x"]), ({"repeats": 1, "calls": 0}, ["x"]), ({"repeats": 1}, [])],
)
def test_nothing_to_time_is_an_error(settings: dict[str, int], inputs: list[str]):
    with pytest.raises(ValueError, match="give"):
        Machine(A=1).interleave(inputs, **settings)


@pytest.mark.parametrize(
    ("seconds", "calls"), [(1.0, 1), (0.03, 4), (1e-9, 100), (0.0, 100)], ids=str
)
def test_calls_make_a_sample_long_enough(seconds: float, calls: int):
    machine = Machine(A=seconds, B=2.0)
    found = calls_per_sample(
        machine.variants,
        ["x"],
        shortest=0.1,
        block=machine.block,
        clock=machine.clock,
    )
    assert found == calls
