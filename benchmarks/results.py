"""Evaluate more methods by the plan of a recipe, and write the page of their figures.

    python benchmarks/results.py fiqa-nano DATA runs/nano OUT/table.parquet docs/results-tables.md \
        --methods fiqa-nano,faceqan,lightqnet --out OUT

The table is `runs/nano/faces/scores.parquet` with a column more for each further method (`fiqa-train label`). Judges,
protocols, sets and discard rates are those of the recipe's section `evaluate`.
"""

import argparse
from pathlib import Path

from train.evaluation.plan import EvaluationPlan, evaluate_plan
from train.evaluation.run import Methods
from train.recipes import read_recipe

HEAD = """# Full tables of the results

All methods of [Results](results.md), on all protocols, by two judges. `benchmarks/results.py` writes this page.

"""


def main() -> None:
    """Evaluate, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path, help="folder of the recipe's run")
    parser.add_argument("table", type=Path, help="its scores, with the columns of further methods")
    parser.add_argument("page", type=Path)
    parser.add_argument("--methods", required=True, help="columns, by commas; the first is the reference")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    plan = EvaluationPlan.from_recipe(read_recipe(options.recipe).get("evaluate"), options.data)
    methods = Methods(options.methods.split(","))
    evaluate_plan(plan, options.table, options.run / "scores-embeddings.npy", methods, options.out)
    options.page.write_text(HEAD + (options.out / "evaluation" / "summary.md").read_text())


if __name__ == "__main__":
    main()
