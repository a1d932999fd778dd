"""The files of `fiqa bench`: a table in CSV and a plot in SVG."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from html import escape
from pathlib import Path

from sdk.files import write_file
from sdk.proof.bench import Measured, rate
from sdk.text import csv_field


def write_csv(path: Path, measured: Sequence[Measured]) -> None:
    """Write all lines, one column an attribute of `Measured`."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(field.name for field in fields(Measured))
    for row in measured:
        values = asdict(row)
        values["model"] = csv_field(row.model, "./")
        writer.writerow(csv_field(value) if isinstance(value, str) else value for value in values.values())
    write_file(path, text.getvalue().encode())


def write_plot(path: Path, measured: Sequence[Measured]) -> None:
    """Write bars of faces a second as SVG, which every browser shows; those without a proof are grey."""
    rows = sorted((row for row in measured if row.faces_per_second), key=rate, reverse=True)
    longest, step, left, width = max(map(rate, rows), default=1.0), 26, 430, 420
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{step * len(rows) + 40}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="20">faces a second; grey: scores unproven or beyond the tolerance</text>',
    ]
    for index, row in enumerate(rows):
        top, long = 32 + step * index, width * rate(row) / longest
        name = f"{Path(row.model).name}, {row.precision}, {row.device}, batch {row.batch}, {row.threads} threads"
        lines += [
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{top}" width="{long:.1f}" height="{step - 8}" '
            f'fill="{"#bbbbbb" if row.failure else "#2a6f97"}"/>',
            f'<text x="{left + long + 6:.1f}" y="{top + 14}">{rate(row):.0f}</text>',
        ]
    text = "\n".join([*lines, "</svg>\n"])
    write_file(path, text)
