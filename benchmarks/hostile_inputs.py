"""Try thousands of damaged and hostile files on the project: `python benchmarks/hostile_inputs.py`.

Every input is drawn from a seed, so a campaign can be repeated. It goes through a function that the commands call, in a
worker process whose memory and time are watched. What may come out is a result or one of the errors of `sdk.errors`;
anything else is WRONG: another exception, a crash, more than 5 s or 700 MB, a pickle that is executed, a file written
elsewhere, the network.

Prints Markdown tables. Inputs of which something was wrong, and those that took the most memory and time, are kept in
`--keep`; `--replay FILE` tries one again. Exit code 1 when anything was wrong. Linux only.
"""

import argparse
import json
import sys
from itertools import chain
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from hostile.campaign import MOST_MEGABYTES, MOST_SECONDS, Campaign, Tally  # noqa: E402 - found by the line above
from hostile.inputs import Input  # noqa: E402

KINDS = {"images": 10_000, "models": 3_000, "tables": 2_000}
"""And how many inputs of each."""


def table(rows: list[tuple[object, ...]]) -> str:
    """A Markdown table; its first row is the head."""
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def show(tallies: list[Tally]) -> None:
    """Print counts by kind and outcome, and the largest memory and time."""
    names = sorted(
        set(chain.from_iterable(tally.outcomes for tally in tallies)), key=lambda name: ("WRONG" in name, name)
    )
    counts = [(name, *(f"{tally.outcomes[name]:,}" for tally in tallies)) for name in names]
    print(
        table([("Outcome", *(tally.kind for tally in tallies)), *counts, ("all", *(f"{t.inputs:,}" for t in tallies))])
    )
    rows: list[tuple[object, ...]] = [("Kind", "Most memory, MB", "Longest, s", "Campaign, s")]
    rows += [(t.kind, t.most_megabytes[0], f"{t.most_seconds[0]:.2f}", f"{t.seconds:.0f}") for t in tallies]
    print(table(rows))
    for tally in tallies:
        for name, tasks in sorted(tally.faults.items(), key=lambda item: -len(item[1])):
            print(f"WRONG {tally.kind}: {len(tasks)} x {name}; for example {tasks[:3]}: {tally.examples[name]}")


def replay(path: Path, folder: Path) -> int:
    """Try one input that was kept; returns the exit code."""
    kind = path.name.partition("-")[0]
    campaign = Campaign(kind, 0, 1, folder)
    campaign.clean()
    print(f"{path}: {Input.load(path).about}")
    tally = campaign.run(iter([str(path.resolve())]))
    show([tally])
    return 1 if tally.faults else 0


def main() -> int:
    """Run the campaign; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for kind, number in KINDS.items():
        parser.add_argument(f"--{kind}", type=int, default=number, help=f"how many {kind} (default {number:,})")
    parser.add_argument("--only", choices=list(KINDS), help="one kind alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("runs/hostile"), help="folder for inputs that are kept")
    parser.add_argument("--out", type=Path, help="JSON file of the counts")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try one kept input again")
    options = parser.parse_args()
    folder = options.keep.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if options.replay:
        return replay(options.replay, folder)
    tallies = []
    for kind in [options.only] if options.only else KINDS:
        campaign = Campaign(kind, options.seed, options.workers, folder)
        campaign.clean()
        tally = campaign.run(iter(range(options.start, options.start + getattr(options, kind))))
        campaign.clean()
        for _, task in (tally.most_megabytes, tally.most_seconds):
            campaign.keep(task)
        tallies.append(tally)
    show(tallies)
    print(f"Promised of each input: at most {MOST_SECONDS:.0f} s and {MOST_MEGABYTES} MB. Seed {options.seed}.")
    if options.out:
        values = [{**vars(tally), "outcomes": dict(tally.outcomes), "faults": dict(tally.faults)} for tally in tallies]
        options.out.write_text(json.dumps(values, indent=1) + "\n")
    return 1 if any(tally.faults for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
