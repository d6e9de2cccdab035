"""What may be imported when: heavy libraries only where they are needed."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["flaxae.api.train", "flaxae.api.load"])
def test_nothing_imports_what_only_quality_and_tables_need(module):
    heavy = ("sklearn", "scipy.linalg", "matplotlib", "pyarrow")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_importing_flaxae_imports_neither_numpy_nor_jax():
    code = "import sys, flaxae; dir(flaxae); print({'numpy', 'jax', 'flax'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"
