"""The default corpus: docstrings of what is installed, labelled exactly by the code that they describe."""

import gc
import hashlib
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fedsim.data import docstring_source, mentions, prose
from fedsim.data.cached import make_once
from fedsim.data.corpus import Corpus
from fedsim.data.docstring_source import KINDS, Library
from fedsim.data.samples import fingerprint_of, held_out
from fedsim.data.saved import save
from fedsim.errors import UserError
from fedsim.observe.observer import Observer
from fedsim.scenario.data import DocstringCorpus

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class _Sample:
    text: str
    client: str
    kind: str
    library: str
    spans: list[mentions.Span]


def load(spec: DocstringCorpus, cache: Path, observer: Observer) -> Corpus:
    """The corpus of these libraries, built on first use and kept in `cache`; later calls memory-map it.

    A client is a module, by its dotted name. `label.kind` says what a docstring describes (module, class, method or
    function), `label.library` where it comes from, and `spans.names` which words name arguments, classes, functions,
    exceptions and modules (see `mentions`). Private objects are included: their docstrings are English like any other.
    Tests and vendored packages are left out, and so is a text that was seen before: the first module in alphabetical
    order keeps it. The cache is by package versions, Python version, `spec`, and the code that reads and labels.

    Raises:
        UserError: a library is unknown or not installed, or nothing is left.
    """
    libraries = [docstring_source.find(name) for name in sorted(spec.libraries)]
    sources = {library.name: library.version for library in libraries}
    key = fingerprint_of("docstrings", sources, spec.min_characters, spec.test_fraction, _rules())
    folder = cache / "corpora" / key
    make_once(folder, lambda empty: _build(empty, libraries, sources, spec, observer))

    fingerprint = (folder / "fingerprint").read_text(encoding="utf-8")
    labels = {"kind": KINDS, "library": tuple(sources)}
    return Corpus(lambda: _table(folder), fingerprint, labels, {"names": mentions.TYPES}, sources)


def _table(folder: Path) -> "datasets.Dataset":
    import datasets

    table = datasets.load_from_disk(str(folder / "samples"))
    assert isinstance(table, datasets.Dataset)
    return table


def _rules() -> str:
    """The code that decides what a corpus holds: one built by other code is another corpus."""
    modules = (docstring_source, prose, mentions, inspect.getmodule(_rules))
    return "".join(inspect.getsource(module) for module in modules if module is not None)


def _build(
    folder: Path, libraries: list[Library], sources: dict[str, str], spec: DocstringCorpus, observer: Observer
) -> None:
    seen: dict[str, _Sample] = {}
    with _no_collector():
        for sample in _read(libraries, observer):
            if len(sample.text) >= spec.min_characters:
                seen.setdefault(sample.text, sample)
    samples = list(seen.values())
    if not samples:
        message = f"no docstring has {spec.min_characters} characters of prose: lower it, or name more libraries"
        raise UserError(message, key="data.corpus.min_characters")
    observer.note(f"{len(samples)} docstrings of {len({sample.client for sample in samples})} modules")
    test = held_out(pa.array([sample.text for sample in samples]), spec.test_fraction)
    digest = hashlib.sha256(json.dumps([sources, KINDS, mentions.TYPES]).encode())
    for sample, tested in zip(samples, test.tolist(), strict=True):
        row = [sample.text, sample.client, sample.kind, sample.library, sample.spans, tested]
        digest.update(json.dumps(row).encode())
    features = _features(tuple(sources))
    columns = {
        "text": pa.array([sample.text for sample in samples]),
        "test": pa.array(test),
        "client": pa.array([sample.client for sample in samples]),
        "label.kind": pa.array([KINDS.index(sample.kind) for sample in samples]),
        "label.library": pa.array(features["label.library"].str2int([sample.library for sample in samples])),
        "spans.names": _spans([sample.spans for sample in samples]),
    }
    save(columns, features, digest.hexdigest(), folder / "samples")
    (folder / "fingerprint").write_text(digest.hexdigest(), encoding="utf-8")


@contextmanager
def _no_collector() -> Iterator[None]:
    """Leave freeing to reference counts: the collector would walk all samples again for every few syntax trees."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(libraries: list[Library], observer: Observer) -> Iterator[_Sample]:
    """Every docstring, by module in alphabetical order, then in source order."""
    known = {library.name: docstring_source.modules(library) for library in libraries}
    files = sorted((module, name) for name, modules in known.items() for module in modules)
    unreadable: list[str] = []
    with observer.task("reading docstrings", len(files)) as advance:
        for module, library in files:
            try:
                scope, docstrings = docstring_source.read(module, known[library][module], known[library])
            except (OSError, SyntaxError, ValueError, RecursionError) as error:
                unreadable.append(f"{module} ({type(error).__name__}: {error})")
                scope, docstrings = docstring_source.Scope(), []
            for docstring in docstrings:
                text = prose.extract(docstring.text)
                spans = mentions.mentions(text, scope, docstring.arguments)
                yield _Sample(text.text, module, docstring.kind, library, spans)
            advance(1)
    if unreadable:
        observer.note(
            f"left out {len(unreadable)} of {len(files)} source files that cannot be parsed, the first: {unreadable[0]}"
        )


def _features(libraries: tuple[str, ...]) -> "datasets.Features":
    import datasets

    integer = datasets.Value("int32")
    columns: dict[str, Any] = {
        "text": datasets.Value("string"),
        "test": datasets.Value("bool"),
        "client": datasets.Value("string"),
        "label.kind": datasets.ClassLabel(names=list(KINDS)),
        "label.library": datasets.ClassLabel(names=list(libraries)),
        "spans.names": datasets.List({"start": integer, "end": integer, "type": integer}),
    }
    return datasets.Features(columns)


def _spans(spans: list[list[mentions.Span]]) -> pa.Array:
    offsets = np.concatenate(([0], np.cumsum([len(each) for each in spans]))).astype(np.int32)
    flat = np.array([span for each in spans for span in each], dtype=np.int32).reshape(-1, 3)
    entries = pa.StructArray.from_arrays([pa.array(column) for column in flat.T], ["start", "end", "type"])
    return pa.ListArray.from_arrays(pa.array(offsets), entries)
