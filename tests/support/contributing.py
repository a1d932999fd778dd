"""The examples of CONTRIBUTING.md, so that tests can build them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^<!-- file: (?P<name>\S+) -->\n+```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def write_example(heading: str, folder: Path) -> list[Path]:
    """Write the files that a section of CONTRIBUTING.md shows, each a fenced block after `<!-- file: NAME -->`.

    Returns:
        Their paths, of which there is at least one.
    """
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    paths = []
    for block in BLOCK.finditer(section):
        paths.append(folder / block["name"])
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_text(block["text"], encoding="utf-8")
    assert paths, f"no file in the section {heading!r}"
    return paths
