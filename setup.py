"""The index page's text and links, made from README.md; all else about the package is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

REPOSITORY = ""
"""Address of the public repository, such as https://host/owner/fiqa. Fill it in before the first upload: while it is
empty, the index page has neither links to files nor pictures."""

IMAGE = re.compile(r"!\[([^\]]*)\]\((?!\w+:)([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)\s]+)\)")


def index_page(text: str, repository: str) -> str:
    """Turn the relative links of a Markdown text into absolute ones.

    Args:
        text: Markdown. Links within the page, and those that are absolute, stay as they are.
        repository: Address of the repository. Where it is empty, links become plain text and pictures are left out.
    """
    if not repository:
        return LINK.sub(r"\1", IMAGE.sub("", text))
    text = IMAGE.sub(rf"![\1]({repository}/raw/HEAD/\2)", text)
    return LINK.sub(rf"[\1]({repository}/blob/HEAD/\2)", text)


def index_links(repository: str) -> dict[str, str]:
    """Links beside the text of the index page."""
    if not repository:
        return {}
    files = f"{repository}/blob/HEAD"
    return {
        "Repository": repository, "Issues": f"{repository}/issues", "Documentation": f"{files}/docs/index.md",
        "Changelog": f"{files}/CHANGELOG.md",
    }  # fmt: skip


if __name__ == "__main__":
    setup(
        long_description=index_page(Path(__file__).with_name("README.md").read_text(encoding="utf-8"), REPOSITORY),
        long_description_content_type="text/markdown",
        project_urls=index_links(REPOSITORY),
    )
