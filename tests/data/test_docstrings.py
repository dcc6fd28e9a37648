import hashlib
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest

from fedsim.data import docstring_source, docstrings
from fedsim.data.corpus import Corpus
from fedsim.data.docstring_source import KINDS, Library
from fedsim.data.mentions import TYPES
from fedsim.errors import UserError
from fedsim.observe.observer import Silent
from fedsim.scenario.data import DocstringCorpus
from tests.data.shapes import write_package

NETWORKX = DocstringCorpus(libraries=("networkx",))


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, package: Path) -> Callable[[str], None]:
    """Makes `find` give the package above for every library, in the version asked for."""

    def use(version: str) -> None:
        monkeypatch.setattr(docstring_source, "find", lambda name: Library(name, version, package, name))

    use("1.0")
    return use


@pytest.fixture(scope="module")
def networkx(cache: Path) -> Corpus:
    return docstrings.load(NETWORKX, cache, Silent())


def test_every_docstring_of_a_module_becomes_a_labelled_sample(fake: Callable[[str], None], tmp_path: Path) -> None:
    spec = DocstringCorpus(libraries=("numpy",), min_characters=1)
    corpus = docstrings.load(spec, tmp_path / "cache", Silent())
    assert corpus.sources == {"numpy": "1.0"}
    assert corpus.labels == {"kind": KINDS, "library": ("numpy",)}
    assert corpus.tags == {"names": TYPES}
    kinds = [KINDS[kind] for kind in corpus.table["label.kind"]]
    expected = ["module", *["class"] * 3, "function", "class", *["method"] * 3, "class", "module"]
    assert kinds == expected
    assert corpus.table["client"] == ["numpy"] * 10 + ["numpy.inner"]
    names = [
        [(row["text"][span["start"] : span["end"]], TYPES[span["type"]]) for span in row["spans.names"]]
        for row in corpus.table
    ]
    assert names[0] == [("os.path", "module"), ("np", "module")]
    assert names[3][:2] == [("area", "function"), ("scale_by", "function")]
    assert ("width", "argument") in names[3]
    assert ("height", "argument") in names[3]
    assert names[7] == [("scale_by", "function")]
    assert names[9] == [("x", "argument"), ("max_value", "argument")]


def test_short_and_repeated_texts_are_left_out(fake: Callable[[str], None], package: Path, tmp_path: Path) -> None:
    (package / "again.py").write_text(
        '"""The inner  shapes, which nobody sees\nfrom outside."""\ndef f():\n  "Too short."\n'
    )
    corpus = docstrings.load(DocstringCorpus(libraries=("numpy",)), tmp_path / "cache", Silent())
    assert all(len(text) >= 40 for text in corpus.table["text"])
    repeated = "The inner shapes, which nobody sees from outside."
    assert [row["client"] for row in corpus.table if row["text"] == repeated] == ["numpy.again"]


def test_unreadable_files_are_counted_and_named(fake: Callable[[str], None], package: Path, tmp_path: Path) -> None:
    (package / "broken.py").write_text("def f(:\n")
    (package / "latin.py").write_bytes(b'"""caf\xe9"""')
    (package / "null.py").write_bytes(b"x = 1\x00")
    notes = Notes()
    docstrings.load(DocstringCorpus(libraries=("numpy",)), tmp_path / "cache", notes)
    (note,) = [text for text in notes.texts if "cannot be parsed" in text]
    assert note.startswith("left out 3 of 5 source files")
    assert "numpy.broken" in note


def test_a_new_version_or_spec_is_another_corpus(fake: Callable[[str], None], package: Path, tmp_path: Path) -> None:
    spec, cache = DocstringCorpus(libraries=("numpy",)), tmp_path / "cache"
    first = docstrings.load(spec, cache, Silent())
    (package / "new.py").write_text('"""A module that came with the next version of the package."""\n')
    assert docstrings.load(spec, cache, Silent()).fingerprint == first.fingerprint
    fake("1.1")
    second = docstrings.load(spec, cache, Silent())
    assert len(second.table) == len(first.table) + 1
    longer = docstrings.load(DocstringCorpus(libraries=("numpy",), min_characters=50), cache, Silent())
    assert len({first.fingerprint, second.fingerprint, longer.fingerprint}) == 3


def test_order_of_libraries_does_not_matter(fake: Callable[[str], None], tmp_path: Path) -> None:
    one = docstrings.load(DocstringCorpus(libraries=("numpy", "ray")), tmp_path, Silent())
    other = docstrings.load(DocstringCorpus(libraries=("ray", "numpy")), tmp_path, Silent())
    assert one.fingerprint == other.fingerprint
    assert one.labels["library"] == ("numpy", "ray")
    assert set(one.table["label.library"]) == {0}  # the same texts: numpy's modules come first and keep them


def test_an_empty_corpus_is_an_error_and_leaves_nothing(fake: Callable[[str], None], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="100000 characters") as empty:
        docstrings.load(DocstringCorpus(libraries=("numpy",), min_characters=100_000), tmp_path, Silent())
    assert empty.value.key == "data.corpus.min_characters"
    assert [path.suffix for path in (tmp_path / "corpora").iterdir()] == [".lock"]


def test_real_corpus_is_clean_and_labelled_exactly(networkx: Corpus) -> None:
    table = networkx.table
    texts = table["text"]
    assert len(texts) > 1000
    assert len(set(texts)) == len(texts)
    assert all(len(text) >= 40 and text == " ".join(text.split()) for text in texts)
    assert not [text for text in texts if ">>>" in text or "----" in text or "`" in text]
    share = np.mean(table["test"])
    assert 0.07 < share < 0.13
    assert all(client.split(".")[0] == "networkx" for client in table["client"])
    count = 0
    for text, spans in zip(texts, table["spans.names"], strict=True):
        ends = [0, *(span["end"] for span in spans)]
        for before, span in zip(ends, spans, strict=False):
            start, end = span["start"], span["end"]
            name = text[start:end]
            assert before <= start < end
            assert all(part.isidentifier() for part in name.split("."))
            assert not (text[start - 1 : start] + text[end : end + 1]).isalnum()
            count += 1
    assert count > 4000


@pytest.mark.slow
def test_fingerprint_is_of_the_content(networkx: Corpus, tmp_path: Path) -> None:
    assert docstrings.load(NETWORKX, tmp_path, Silent()).fingerprint == networkx.fingerprint
    digest = hashlib.sha256(json.dumps([dict(networkx.sources), KINDS, TYPES]).encode())
    for row in networkx.table:
        spans = [[span["start"], span["end"], span["type"]] for span in row["spans.names"]]
        kind = KINDS[row["label.kind"]]
        digest.update(json.dumps([row["text"], row["client"], kind, "networkx", spans, row["test"]]).encode())
    assert digest.hexdigest() == networkx.fingerprint


def test_corpus_opens_with_datasets_and_is_memory_mapped(networkx: Corpus) -> None:
    folder = Path(networkx.table.cache_files[0]["filename"]).parent
    again = datasets.load_from_disk(str(folder))
    assert again.features["label.kind"].names == list(KINDS)
    assert again[0] == networkx.table[0]


def _load(cache: str) -> str:
    return docstrings.load(NETWORKX, Path(cache), Silent()).fingerprint


@pytest.mark.slow
def test_two_processes_may_build_at_once(networkx: Corpus, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        fingerprints = pool.map(_load, [str(tmp_path)] * 2, chunksize=1)
    assert fingerprints == [networkx.fingerprint] * 2
    assert [path.suffix for path in sorted((tmp_path / "corpora").iterdir())] == ["", ".lock"]
