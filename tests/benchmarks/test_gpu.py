"""The benchmark of a GPU runs to its end: dry, on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = (
    "the same with cuDNN's depthwise kernels",
    "DifFIQA, width 128",
    "`fit diffiqa`",
    "`fit ediffiqa` T",
    "SDK, fiqa-nano, one face",
)


def test_a_dry_run_measures_every_part(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    parts = "faceqan-mobile,diffiqa,fit-diffiqa,fit-ediffiqa,sdk-nano"
    command = [sys.executable, "benchmarks/gpu.py", "--dry", "--parts", parts, "--out", str(page)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = [row.split("|") for row in page.read_text().splitlines() if row.startswith("|")]
    rows = {row[1].strip(): row[-2].strip() for row in table}
    for start in LINES:
        (now,) = (value for title, value in rows.items() if title.startswith(start))
        assert float(now.removesuffix(", not reached").strip("*").replace(",", "")) > 0
    assert rows["`fit ediffiqa` L, images/s"] == "not measured"
    assert ": error" not in page.read_text()
