"""Put evaluations into a page: tables between its marks, figures beside it.

    python benchmarks/results_page.py docs/results-tables.md same=OUT/same cross=OUT/cross

In the page `<!-- same -->` and `<!-- end of same -->`, each on a line of its own, hold the place of
`OUT/same/table.md`; `OUT/same/edc.png` becomes `images/results-same.png`.
"""

import argparse
import shutil
from pathlib import Path


def main() -> None:
    """Rewrite the page in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("evaluations", nargs="+", help="name=folder")
    options = parser.parse_args()
    text = options.page.read_text()
    for name, _, folder in (item.partition("=") for item in options.evaluations):
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->\n")
        if not start or not end:
            raise SystemExit(
                f"{options.page} has no place for {name!r}, wanted <!-- {name} --> and <!-- end of {name} -->"
            )
        table = (Path(folder) / "table.md").read_text()
        text = f"{before}{start}\n{table}\n{end}{after}"
        shutil.copyfile(Path(folder) / "edc.png", options.page.parent / "images" / f"results-{name}.png")
    options.page.write_text(text)


if __name__ == "__main__":
    main()
