"""The papers round the package are complete: notices of what it needs, the page of licences, the citation."""

import re
from pathlib import Path

import pytest

from sdk.models.catalog import catalog
from tests.support.project import dependencies

ROOT = Path(__file__).parents[1]
NOTICES = (ROOT / "THIRD_PARTY_NOTICES").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("package", "extras"), sorted(dependencies().items()), ids=str)
def test_every_dependency_has_its_licence_named(package: str, extras: set[str]) -> None:
    row = re.search(rf"^{re.escape(package)}  +(\S.*?)  +\S", NOTICES, re.MULTILINE)
    assert row, f"{package} is not in THIRD_PARTY_NOTICES"
    assert set(re.sub(r" \(.*\)", "", row[1]).split(", ")) == extras


@pytest.mark.parametrize("name", catalog())
def test_every_model_has_its_answer(name: str) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    assert re.search(r"\| \*\*(yes|no|ask)\*\* \|", rows[0])
    card = catalog()[name].card
    assert card.licence.partition(":")[0] in rows[0] or "none stated" in rows[0]


def test_the_papers_are_cited_where_the_citation_file_names_them() -> None:
    titles = re.findall(
        r'^ *(?:- )?title: "?([^"\n]+?)"?$', (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(titles) == 6
    for title in titles[1:]:
        assert title in PAGE
