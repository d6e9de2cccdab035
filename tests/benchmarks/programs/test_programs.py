"""GPU programs, compiled without a GPU, where jax's CUDA plugin is: `.ci/gpu` installs it."""

import pytest

from benchmarks.common.command import parse
from benchmarks.common.memory import MIB
from benchmarks.common.targets import TARGETS
from benchmarks.programs import Settings, compilation, report
from flaxae.errors import InputError

needs_plugin = pytest.mark.skipif(
    not any(map(compilation._is_installed, compilation._PLUGINS)),
    reason="needs the CUDA plugin of jax: .ci/gpu",
)


def test_without_the_plugin_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(compilation, "_is_installed", lambda name: False)
    with pytest.raises(InputError, match=r"pip install --no-deps jax-cuda12-plugin==\S+ jax-\S+$"):
        compilation.require_plugin()


def test_requests_are_what_the_flags_ask_for():
    flags = "--gpus h100 a100 --passes train --forms plain gpu --batch-sizes 64 256"
    found = list(compilation.requests(parse(Settings, flags.split())))
    assert len(found) == len(set(found)) == 8
    assert {gpu for gpu, _ in found} == {"h100", "a100"}


@pytest.mark.parametrize("target", TARGETS.values())
def test_a_target_has_the_rates_of_its_sheet(target):
    """float32 without tensor cores: the sheets give twice the lanes times the clock."""
    sheets = {"H100 SXM": 66.9e12, "A100 SXM": 19.5e12, "V100 SXM2": 15.7e12}
    rate = 2 * target.cores * target.lanes * target.clock_ghz * 1e9
    assert rate == pytest.approx(sheets[target.name], rel=0.01)
    assert f"core_count: {target.cores}\n" in target.text()


# Measured with jax 0.10.2; a change that needs more must say why in benchmarks/attempts.md.
@needs_plugin
def test_the_gpu_form_launches_and_moves_no_more_than_it_did(capsys):
    flags = "--passes train scan --forms gpu"
    programs = {
        request.passing: compilation.measure(gpu, request)
        for gpu, request in compilation.requests(parse(Settings, flags.split()))
    }
    limits = {"train": (77, 372), "scan": (75, 372)}
    for passing, (launches, mib) in limits.items():
        assert programs[passing].launches.total <= launches
        assert programs[passing].launches.bytes <= mib * MIB
    report.show(list(programs.values()))
    assert "H100 SXM" in capsys.readouterr().out
    assert "nothing was timed" in report.answer(list(programs.values()))
