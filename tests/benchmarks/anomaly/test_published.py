import json
from pathlib import Path

from benchmarks.anomaly.results import class_table, texture_table

ROOT = Path(__file__).parents[3]


def test_the_tables_of_the_readme_are_those_of_the_results():
    results = json.loads((ROOT / "benchmarks/results/anomaly-cpu.json").read_text())
    text = (ROOT / "benchmarks/README.md").read_text()
    assert class_table(results["classes"]) in text
    assert texture_table(results["textures"]) in text
