import json

import pytest

from benchmarks.common import device, roofline
from benchmarks.common.report import plain, sentence, to_text


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("NVIDIA A100-SXM4/40GB", "nvidia-a100-sxm4-40gb"),
        ("TPU v5 lite", "tpu-v5-lite"),
        ("cpu", "cpu"),
        ("../..", "device"),
    ],
)
def test_file_names(kind: str, expected: str):
    assert device.name_for_files(kind) == expected


def test_json_keeps_a_list_of_numbers_on_one_line():
    report = {"samples": [1.5, 2e-05, -3], "names": ["a", "b"], "rows": [{"n": 1}]}
    text = to_text(report)
    assert '"samples": [1.5, 2e-05, -3]' in text
    assert json.loads(text) == report


def test_the_sentence_names_the_device_and_warns_of_a_smoke_run():
    described = {"runtime": "cuda", "kind": "Great GPU"}
    assert sentence("it works", described, smoke=False) == "On this Great GPU, it works."
    warned = sentence("it works", {"runtime": "cpu", "cores": 2, "processor": "Chip"}, smoke=True)
    assert warned.startswith("On this CPU (2 cores of Chip), it works; a smoke run is too short")


def test_named_tuples_keep_the_names_of_their_fields():
    costs = {"costs": [roofline.Cost(1.0, None)], "shape": (1, 2)}
    assert plain(costs) == {"costs": [{"flops": 1.0, "bytes_accessed": None}], "shape": [1, 2]}
