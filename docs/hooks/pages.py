"""What the site has beside the pages of docs/: the reference, the notebooks, and the files that pages link to.

Links in the pages are relative to the repository, so that they also work where the code is hosted. Here a link that
leaves docs/ leads to the page that the site has for that file.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebook import converted

import fedsim
from fedsim.scenario import reference

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "scenarios/scenario.schema.json": "reference/scenario.md",
}
"""Where the site has files from outside of docs/; it has notebooks under notebooks/, and all others under source/."""
WRITTEN = [name for name in PAGES if name.endswith(".md")]
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".json": "json"}
API = """# Python API

What `import fedsim` gives, and the modules that make tables and figures of a run. Frames are tidy (a row an
observation, a column a variable) and units are in the names of columns: `_s`, `_bytes`, `_j`; [the trace](../trace.md)
lists them all. Everything else is inside, and may change; the [architecture](../architecture.md) lists it.

"""

_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here, and a page for every file outside of docs/ that some page links to."""
    texts = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "docs").rglob("*.md"))}
    texts |= {name: ROOT / name for name in WRITTEN}
    made: dict[str, str | bytes] = {"reference/scenario.md": reference.text(), "reference/python.md": api()}
    for name, path in texts.items():
        text = path.read_text(encoding="utf-8")
        if name in PAGES:
            made[PAGES[name]] = relinked(text, name)
        for target in _targets(text, name):
            if place(target).startswith("source/"):
                made[place(target)] = source(ROOT / target)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page, pictures = converted(path)
        name = path.relative_to(ROOT).as_posix()
        made[place(name)] = relinked(page, name)
        made |= {f"notebooks/{picture}": content for picture, content in pictures.items()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the pages in docs/, as they are on the site."""
    return relinked(markdown, f"docs/{page.file.src_uri}") if page.file.generated_by is None else markdown


def relinked(text: str, name: str) -> str:
    """A page of the repository, with its links as they are on the site."""
    here = posixpath.dirname(place(name))

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), found[0]))
        return posixpath.relpath(place(target), here or ".")

    pieces = _FENCE.split(text)
    pieces[::2] = [_LINK.sub(link, piece) for piece in pieces[::2]]
    return "".join(pieces)


def place(name: str) -> str:
    """Where the site has a file of the repository."""
    if name in PAGES or name.startswith("docs/"):
        return PAGES.get(name, name.removeprefix("docs/"))
    if name.startswith("notebooks/"):
        return name.removesuffix(".ipynb") + ("" if name.endswith(".png") else ".md")
    return f"source/{name}.md"


def source(path: Path) -> str:
    """A page with a file of the repository, or with all scenarios of a folder."""
    title = path.relative_to(ROOT)
    if path.is_dir():
        shown = [(f"## {file.stem}", file) for file in sorted(path.glob("*.yaml"))]
        if not shown:
            raise ValueError(f"a page links to the folder {title}, which the site cannot show: link to a file")
    else:
        shown = [("", path)]
    parts = [f"# {title}"]
    for heading, file in shown:
        text = file.read_text(encoding="utf-8")
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        parts += [heading, f"{fence}{LANGUAGES.get(file.suffix, 'text')}\n{text.rstrip()}\n{fence}"]
    return "\n\n".join(parts) + "\n"


def api() -> str:
    """The page from which mkdocstrings makes the Python API."""
    names = [f"fedsim.{name}" for name in fedsim.__all__ if not name.startswith("_")]
    modules = ["fedsim.report.frames", "fedsim.report.figures"]
    return API + "\n".join([*(f"::: {name}\n" for name in names), *(f"::: {name}\n" for name in modules)])


def _targets(text: str, name: str) -> Iterator[str]:
    """Files and folders of the repository that a page links to."""
    for piece in _FENCE.split(text)[::2]:
        for found in _LINK.findall(piece):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(name), found))
