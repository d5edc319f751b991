"""Hooks of mkdocs: pages that are not in docs/, and the links between all of them.

The README becomes the first page, and notebooks become pages of their cells. Links are written for the repository;
here each one is led to the page that its target has on the site.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/**/*.md",
    "benchmarks/**/*.png",
    "benchmarks/grids/*.toml",
    "examples/**/*.md",
)
"""What is copied to the site under the name that it has in the repository."""

MODULES = {
    "python.md": ("Python", ["scmrl_plugins", "scmrl_plugins.core.interfaces", "scmrl_plugins.registry"]),
    "grids.md": ("Grids", ["scmrl_plugins.bench.accuracy.grid"]),
}
"""The pages that mkdocstrings makes: their titles and modules."""

LINK = re.compile(r"(?<=\]\()(?!https?:)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    read = {"index.md": ROOT / "README.md"}
    read |= {path.relative_to(ROOT).as_posix(): path for pattern in PAGES for path in ROOT.glob(pattern)}
    for name, path in sorted(read.items()):
        files.append(File.generated(config, name, content=path.read_bytes()))
    for path in sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")):
        name = path.relative_to(ROOT).with_suffix(".md").as_posix()
        files.append(File.generated(config, name, content=_cells(path)))
    for name, (title, modules) in MODULES.items():
        text = f"# {title}\n\n" + "\n".join(f"::: {module}\n" for module in modules)
        files.append(File.generated(config, name, content=text))
    return files


def _cells(path: Path) -> str:
    """The cells of a notebook as Markdown."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    return "\n\n".join(f"```python\n{text}\n```" if code else text for text, code in texts) + "\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to the pages of their targets."""
    source = page.file.src_uri
    if source in MODULES:
        return markdown
    in_repository = "README.md" if source == "index.md" else source
    if (ROOT / "docs" / source).exists():
        in_repository = f"docs/{source}"

    def replaced(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(in_repository), match[1]))
        return posixpath.relpath(_on_site(target), posixpath.dirname(source) or ".")

    return LINK.sub(replaced, markdown)


def _on_site(target: str) -> str:
    """Where the site has a file of the repository."""
    if target == "README.md":
        return "index.md"
    if target.endswith(".ipynb"):
        return f"{target.removesuffix('.ipynb')}.md"
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if target.startswith("scmrl_plugins/bench"):
        return "grids.md"
    if target.startswith("scmrl_plugins"):
        return "python.md"
    return target if Path(target).suffix else f"{target}/README.md"
