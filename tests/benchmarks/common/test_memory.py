import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.common import memory
from benchmarks.common.memory import mapped_of, private_growth

_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


@_linux
def test_growth_is_the_peak_above_the_memory_before():
    before = np.ones(2**23)  # 64 MiB, held before, so not counted
    np.ones(2**25)  # freed before, so not counted

    def work() -> str:
        np.ones(2**22)  # 32 MiB, freed at once
        return "done"

    result, growth = private_growth(work)
    assert result == "done"
    assert growth == pytest.approx(2**25, abs=2**22)
    assert before[0] == 1


def test_memory_is_unknown_where_the_system_does_not_report_it(monkeypatch, tmp_path):
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=2**20))  # as on macOS
    monkeypatch.setattr(memory.psutil, "Process", lambda: process)
    assert mapped_of(tmp_path) is None
    assert private_growth(lambda: 7) == (7, None)


@_linux
def test_pages_of_a_file_are_counted_once_they_are_touched(tmp_path):
    file = tmp_path / "pages"
    file.write_bytes(bytes(2**22))
    pages = np.memmap(file, np.uint8, "r")
    assert mapped_of(file) == 0
    assert pages.sum() == 0
    assert mapped_of(file) == 2**22
    assert mapped_of(tmp_path / "ages") == 0
