"""GPU programs, compiled without a GPU, where jax's CUDA plugin is: `.ci/gpu` installs it."""

import json
from pathlib import Path

import jax
import pytest

from benchmarks.common.command import parse, run
from benchmarks.common.launches import Launches
from benchmarks.common.memory import MIB
from benchmarks.common.targets import TARGETS
from benchmarks.programs import Settings, compilation, report
from flaxae.errors import InputError

ROOT = Path(__file__).parents[3]
needs_plugin = pytest.mark.skipif(
    not any(map(compilation._is_installed, compilation._PLUGINS)),
    reason="needs the CUDA plugin of jax: .ci/gpu",
)


PLAIN = "--layouts NHWC --dtypes float32 --downsample max_pool --activations relu"


def program(gpu, request):
    """As if the GPU form launched and moved half."""
    half = 1 if request.form == "gpu" else 2
    counted = Launches(7 * half, 2, 1, half * MIB, half * MIB)
    return compilation.Program(gpu, request, counted, 0, 0, {}, 1e-6 * half, None, 0.0)


def test_without_the_plugin_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(compilation, "_is_installed", lambda name: False)
    wheels = r"pip install --no-deps jax-cuda12-plugin==\S+ jax-cuda12-pjrt==\S+ 'nvidia-\S+'$"
    with pytest.raises(InputError, match=wheels):
        compilation.require_plugin()


def test_requests_vary_one_flag_at_a_time():
    flags = "--gpus h100 a100 --passes train --forms plain gpu --batch-sizes 64 256 1024"
    flags += " --activations relu --downsample max_pool --layouts NHWC --dtypes float32 bfloat16"
    found = list(compilation.requests(parse(Settings, flags.split())))
    assert len(found) == len(set(found)) == 2 * 2 * 4
    assert {gpu for gpu, _ in found} == {"h100", "a100"}
    kinds = {(r.batch_size, r.dtype) for _, r in found}
    assert kinds == {(64, "float32"), (64, "bfloat16"), (256, "float32"), (1024, "float32")}


def test_a_gpu_that_cannot_be_compiled_for_leaves_the_others(monkeypatch, tmp_path, capsys):
    """One line says why, the others are published, and the status is 1."""

    def measured(gpu, request):
        if gpu == "v100":
            raise jax.errors.JaxRuntimeError("UNIMPLEMENTED: ptxas too old.\nmore")
        return program(gpu, request)

    monkeypatch.setattr(report, "require_plugin", lambda: None)
    monkeypatch.setattr(report, "measure", measured)
    flags = (
        f"--gpus v100 h100 {PLAIN} --passes train embed --batch-sizes 64 --output-dir {tmp_path}"
    )
    assert run(Settings, flags.split()) == 1
    written = capsys.readouterr()
    line = "V100 SXM2 cannot be compiled for here: UNIMPLEMENTED: ptxas too old. (it does not know "
    line += "sm_70); pip install --no-deps 'nvidia-cuda-nvcc-cu12<13'"
    assert line in written.out.splitlines()
    assert written.err == f"benchmarks.programs: error: {line}\n"
    (file,) = tmp_path.glob("*.json")
    results = json.loads(file.read_text())
    assert results["failures"] == {"v100": line}
    assert {p["gpu"] for p in results["programs"]} == {"h100"}
    row = "| H100 SXM | NHWC | float32 | max_pool | relu | 64 | 17 / 4 → 10 / 2 | 17 / 4 → 10 / 2 |"
    assert f"{row} 2 → 1 |" in report.table(results["programs"])


def test_a_failure_of_no_ptxas_is_told_as_it_is():
    line = report.failure(TARGETS["h100"], "INTERNAL: no convolution\nmore")
    assert line == "H100 SXM cannot be compiled for here: INTERNAL: no convolution"


@pytest.mark.parametrize("target", TARGETS.values())
def test_a_target_has_the_rates_of_its_sheet(target):
    """float32 without tensor cores: the sheets give twice the lanes times the clock."""
    sheets = {"H100 SXM": 66.9e12, "A100 SXM": 19.5e12, "V100 SXM2": 15.7e12}
    rate = 2 * target.cores * target.lanes * target.clock_ghz * 1e9
    assert rate == pytest.approx(sheets[target.name], rel=0.01)
    assert f"core_count: {target.cores}\n" in target.text()


def test_the_tables_of_the_readme_are_those_of_the_results():
    text = (ROOT / "benchmarks/README.md").read_text()
    for name in ("programs", "programs-variants"):
        results = json.loads((ROOT / f"benchmarks/results/{name}-cpu.json").read_text())
        assert results["counted"] == "not timed"
        assert not results["failures"]
        assert report.table(results["programs"]) in text[text.index("**Counted, not timed**") :]


# Measured with jax 0.10.2; a change that needs more must say why in benchmarks/attempts.md.
@needs_plugin
def test_the_gpu_form_launches_and_moves_no_more_than_it_did(capsys):
    flags = "--gpus h100 --forms gpu --layouts NHWC --dtypes float32 --activations relu"
    flags += " --passes train scan --batch-sizes 256"
    programs = {
        (request.downsample, request.passing): compilation.measure(gpu, request)
        for gpu, request in compilation.requests(parse(Settings, flags.split()))
    }
    limits = {
        ("max_pool", "train"): (74, 367),
        ("max_pool", "scan"): (72, 366),
        ("stride", "train"): (86, 468),
        ("stride", "scan"): (84, 468),
    }
    for key, (launches, mib) in limits.items():
        assert programs[key].launches.total <= launches, key
        assert programs[key].launches.bytes <= mib * MIB, key
    report.show(list(programs.values()))
    assert "H100 SXM" in capsys.readouterr().out
    assert "nothing was timed" in report.answer(list(programs.values()))
