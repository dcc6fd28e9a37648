"""The documentation site: every page is on it, every link leads somewhere, and it is built without a warning."""

import os
import subprocess
import sys
from pathlib import Path

import pages
import pytest
import yaml
from notebook import converted

from .markdown import ROOT


class _Loader(yaml.SafeLoader):
    """Passes over what only mkdocs can read."""


_Loader.add_multi_constructor("!!python/", lambda loader, suffix, node: None)
_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def navigation() -> list[str]:
    waiting = [yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)["nav"]]
    files: list[str] = []
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, str):
            files.append(entry)
        else:
            waiting += entry.values() if isinstance(entry, dict) else entry
    return files


def test_every_page_and_notebook_is_in_the_navigation() -> None:
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")}
    made = {*pages.PAGES.values(), "reference/python.md"}
    assert sorted(navigation()) == sorted(written | notebooks | made), "give the page a line under `nav` in mkdocs.yml"


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("README.md", "docs/fleet.md#tables", "fleet.md#tables"),
        ("README.md", "docs/quickstart.png", "quickstart.png"),
        ("docs/methods/fedbt.md", "../accounting.md", "../accounting.md"),
        ("docs/scenarios.md", "../scenarios/scenario.schema.json", "reference/scenario.md"),
        ("docs/scenarios.md", "../notebooks/methods.ipynb", "notebooks/methods.md"),
        ("docs/extending.md", "../fedsim/methods/base.py", "source/fedsim/methods/base.py.md"),
        ("notebooks/methods.ipynb", "../docs/trace.md", "../trace.md"),
        ("docs/policies.md", "https://example.org/x", "https://example.org/x"),
        ("docs/policies.md", "#staleness", "#staleness"),
    ],
)
def test_links_of_the_repository_as_they_are_on_the_site(page: str, link: str, there: str) -> None:
    assert pages.relinked(f"see [it]({link}).", page) == f"see [it]({there})."
    assert pages.relinked(f"```\n[it]({link})\n```", page) == f"```\n[it]({link})\n```"


def test_a_file_with_fences_inside_is_shown_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.txt").write_text("```\ncode\n```\n", encoding="utf-8")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    assert pages.source(tmp_path / "page.txt") == "# page.txt\n\n\n\n````text\n```\ncode\n```\n````\n"
    with pytest.raises(ValueError, match="link to a file"):
        pages.source(tmp_path)


def test_a_notebook_as_a_page() -> None:
    page, pictures = converted(ROOT / "notebooks" / "quickstart.ipynb")
    assert page.startswith("# Reading a run\n")
    assert len(pictures) == page.count("](quickstart-") == 5
    assert all(content.startswith(b"\x89PNG") for content in pictures.values())
    assert "<table>" in page
    assert "<style" not in page


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    made = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")}
    assert len(made) > 50
    for path, html in made.items():
        assert 'src="http' not in html, f"{path} fetches something from elsewhere"
    api = made[tmp_path / "site/reference/python.html"]
    assert all(f'id="fedsim.{name}"' in api for name in ("read_run", "Run", "Run.read"))
