import errno
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.data import files
from fedsim.data.conll import spans
from fedsim.data.corpus import Corpus
from fedsim.errors import UserError
from fedsim.observe.observer import Silent
from fedsim.scenario.data import FileCorpus


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(path: Path, rows: Iterable[Any]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def read(tmp_path: Path, *, observer: Silent | None = None, **options: Any) -> Corpus:
    spec = FileCorpus(**{**({} if "test" in options else {"test_fraction": 0.5}), **options})
    return files.load(spec, tmp_path, tmp_path / "cache", observer or Silent())


def rows_of(corpus: Corpus, test: bool) -> list[dict[str, Any]]:
    """The samples of one part, labels as names."""
    found = []
    for row in corpus.table.to_list():
        if row.pop("test") == test:
            for name, classes in corpus.labels.items():
                row[f"label.{name}"] = classes[row[f"label.{name}"]]
            found.append(row)
    return found


ROWS = [{"text": f'sample {i}, "quoted" é', "topic": i % 3, "client": f"c{i % 4}"} for i in range(24)]


def as_jsonl(folder: Path, rows: list[dict[str, Any]], name: str) -> str:
    return jsonl(folder / f"{name}.jsonl", rows).name


def as_csv(folder: Path, rows: list[dict[str, Any]], name: str) -> str:
    pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    return f"{name}.csv"


def as_parquet(folder: Path, rows: list[dict[str, Any]], name: str) -> str:
    pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet", index=False)
    return f"{name}.parquet"


@pytest.mark.parametrize("save", [as_jsonl, as_csv, as_parquet])
def test_formats_with_columns_say_the_same(
    tmp_path: Path, save: Callable[[Path, list[dict[str, Any]], str], str]
) -> None:
    train, test = save(tmp_path, ROWS[:16], "a"), save(tmp_path, ROWS[16:], "b")
    corpus = read(tmp_path, train=[train], test=[test], labels=["topic"])
    wanted = [{"text": r["text"], "label.topic": str(r["topic"]), "client": r["client"]} for r in ROWS]
    assert rows_of(corpus, test=False) == wanted[:16]
    assert rows_of(corpus, test=True) == wanted[16:]
    assert corpus.labels == {"topic": ("0", "1", "2")}
    assert isinstance(corpus.table.features["label.topic"], datasets.ClassLabel)
    assert corpus.sources == {name: files.sha256(tmp_path / name) for name in (train, test)}
    assert len(corpus.fingerprint) == 64


def test_formats_may_be_mixed_and_named(tmp_path: Path) -> None:
    names = [as_jsonl(tmp_path, ROWS[:8], "a"), as_csv(tmp_path, ROWS[8:16], "b"), as_parquet(tmp_path, ROWS[16:], "c")]
    corpus = read(tmp_path, train=names, labels=["topic"], test_fraction=0.3)
    assert corpus.table["text"][:] == [row["text"] for row in ROWS]
    write(tmp_path / "d.dat", (tmp_path / "a.jsonl").read_bytes())
    assert len(read(tmp_path, train=["d.dat"], format="jsonl").table) == 8


def test_parquet_types_that_mean_the_same(tmp_path: Path) -> None:
    texts = ["a b", "c d", "e f", "g h"]
    parquet(
        tmp_path / "a.parquet",
        body=pa.array(texts, pa.large_string()),
        kind=pa.array(["x", "y", "x", "y"]).dictionary_encode(),
        who=pa.array([10, 9, 10, 9], pa.uint8()),
    )
    corpus = read(tmp_path, train=["a.parquet"], text="body", labels=["kind"], client="who")
    assert corpus.table["text"][:] == texts
    assert corpus.table["client"][:] == ["10", "9", "10", "9"]
    assert corpus.labels == {"kind": ("x", "y")}


def test_plain_text_is_a_sample_a_line(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "\ufeffone\r\n\n  \ntwo\u2028still two\nthree")
    write(tmp_path / "b.txt", "four")
    corpus = read(tmp_path, train=["a.txt"], test=["b.txt"])
    assert corpus.table.column_names == ["text", "test"]
    assert corpus.table["text"][:] == ["one", "two\u2028still two", "three", "four"]


def test_quoted_csv_fields_may_span_lines(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", 'text,topic\r\n"two\nlines, one ""quote""",b\r\n\r\nplain,a\r\n')
    write(tmp_path / "b.csv", "topic,text\na,held\n")
    corpus = read(tmp_path, train=["a.csv"], test=["b.csv"], labels=["topic"])
    assert corpus.table["text"][:] == ['two\nlines, one "quote"', "plain", "held"]
    assert corpus.table["label.topic"][:] == [1, 0, 0]


CONLL = """-DOCSTART- -X- O

EU NNP I-ORG
rejects VBZ O
German JJ B-MISC
call NN I-MISC

Peter NNP B-PER
Blackburn\tNNP I-PER
Mary NNP B-PER
Rome NNP I-LOC
"""


def test_conll_tags_become_spans_of_characters(tmp_path: Path) -> None:
    write(tmp_path / "a.conll", CONLL)
    write(tmp_path / "b.conll", "Oslo x B-LOC\n. x O")
    corpus = read(tmp_path, train=["a.conll"], test=["b.conll"], tags="entities")
    assert corpus.tags == {"entities": ("LOC", "MISC", "ORG", "PER")}
    found = [
        [(row["text"][s["start"] : s["end"]], corpus.tags["entities"][s["type"]]) for s in row["spans.entities"]]
        for row in corpus.table.to_list()
    ]
    assert corpus.table["text"][:] == ["EU rejects German call", "Peter Blackburn Mary Rome", "Oslo ."]
    assert found == [
        [("EU", "ORG"), ("German call", "MISC")],
        [("Peter Blackburn", "PER"), ("Mary", "PER"), ("Rome", "LOC")],
        [("Oslo", "LOC")],
    ]
    span = corpus.table.features["spans.entities"].feature
    assert {key: value.dtype for key, value in span.items()} == {"start": "int32", "end": "int32", "type": "int32"}


entities = st.lists(st.tuples(st.sampled_from(["", "A", "B"]), st.lists(st.text("xyé", min_size=1), min_size=1)))


@given(entities)
def test_both_tag_schemes_give_the_spans_they_were_made_from(chunks: list[tuple[str, list[str]]]) -> None:
    tokens: list[str] = []
    iob1: list[str] = []
    iob2: list[str] = []
    wanted = []
    last = ""
    for kind, words in chunks:
        start = len(" ".join([*tokens, ""]))
        tokens += words
        if kind:
            wanted.append((start, len(" ".join(tokens)), kind))
        iob2 += [f"{'I' if i else 'B'}-{kind}" if kind else "O" for i in range(len(words))]
        iob1 += [f"{'B' if i == 0 and kind == last else 'I'}-{kind}" if kind else "O" for i in range(len(words))]
        last = kind
    assert spans(tokens, iob2) == wanted
    assert spans(tokens, iob1) == wanted


TOKENISED = [
    {"input_ids": [2, 5, 6, 3, 0, 0], "attention_mask": [1, 1, 1, 1, 0, 0], "labels": [-100, 5, -100, -100, 9, 9]},
    {"input_ids": [2, 7, 3], "attention_mask": [1, 1, 1], "labels": [-100, -100, -100]},
    {"input_ids": [0, 0], "attention_mask": [0, 0], "labels": [-100, -100]},
    {"input_ids": [2, 2**31 - 1], "attention_mask": [1, 1], "labels": [-100, 4]},
]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_token_ids_lose_their_padding_and_keep_their_targets(tmp_path: Path, kind: str) -> None:
    if kind == "jsonl":
        jsonl(tmp_path / "a.jsonl", TOKENISED)
    else:
        columns = {key: [row[key] for row in TOKENISED] for key in TOKENISED[0]}
        parquet(tmp_path / "a.parquet", **{key: pa.array(v, pa.large_list(pa.int64())) for key, v in columns.items()})
    jsonl(tmp_path / "b.jsonl", [{"input_ids": [4], "labels": [-100]}])
    notes = Notes()
    corpus = read(tmp_path, observer=notes, train=[f"a.{kind}"], test=["b.jsonl"], tokenised=True)
    assert corpus.table["input_ids"][:] == [[2, 5, 6, 3], [2, 7, 3], [2, 2**31 - 1], [4]]
    assert corpus.table["labels"][:] == [[-100, 5, -100, -100], [-100, -100, -100], [-100, 4], [-100]]
    assert corpus.table.features["input_ids"].feature.dtype == "int32"
    place = "line 3" if kind == "jsonl" else "row 3"
    assert notes.texts == [f"{tmp_path / f'a.{kind}'}: samples without content left out: 1, the first in {place}"]


def test_one_label_a_sample_beside_token_ids(tmp_path: Path) -> None:
    rows = [{"input_ids": [1, i], "labels": i % 2, "who": i} for i in range(9)]
    corpus = read(
        tmp_path, train=[jsonl(tmp_path / "a.jsonl", rows).name], tokenised=True, labels=["labels"], client="who"
    )
    assert sorted(corpus.table.column_names) == ["client", "input_ids", "label.labels", "test"]
    assert corpus.labels == {"labels": ("0", "1")}
    assert corpus.table["label.labels"][:] == [i % 2 for i in range(9)]


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([10, 9, -1, 10], ("-1", "9", "10")),
        (["10", "9", "x", "9"], ("10", "9", "x")),
        (["b", "a", "é", "B"], ("B", "a", "b", "é")),
        (["007", "7", "1", "1"], ("007", "1", "7")),
    ],
)
def test_classes_are_sorted_as_numbers_only_where_all_are(tmp_path: Path, values: list[Any], classes: Any) -> None:
    rows = [{"text": f"t{i}", "y": value} for i, value in enumerate(values)]
    jsonl(tmp_path / "a.jsonl", rows)
    jsonl(tmp_path / "b.jsonl", rows[:1])
    jsonl(tmp_path / "c.jsonl", rows[1:])
    corpus = read(tmp_path, train=["c.jsonl"], test=["b.jsonl"], labels=["y"])
    assert corpus.labels["y"] == classes
    assert [row["label.y"] for row in rows_of(corpus, test=False)] == [str(v) for v in values[1:]]


def test_a_class_that_only_test_samples_have_is_noted_every_time(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": "x", "y": "a"}, {"text": "z", "y": "b"}])
    jsonl(tmp_path / "b.jsonl", [{"text": "y", "y": "new"}])
    for _ in range(2):
        notes = Notes()
        corpus = read(tmp_path, observer=notes, train=["a.jsonl"], test=["b.jsonl"], labels=["y"])
        assert corpus.labels["y"] == ("a", "b", "new")
        assert notes.texts == ["label.y: only test samples are of class new"]


def test_hold_out_goes_by_content_alone(tmp_path: Path) -> None:
    rows = [{"text": f"text {i % 500}"} for i in range(1000)]
    corpus = read(tmp_path, train=[jsonl(tmp_path / "a.jsonl", rows).name], test_fraction=0.2)
    held = {row["text"] for row in rows_of(corpus, test=True)}
    assert 70 < len(held) < 130  # 100 of 500, five standard deviations either way at most
    assert not held & {row["text"] for row in rows_of(corpus, test=False)}
    backwards = read(tmp_path, train=[jsonl(tmp_path / "b.jsonl", reversed(rows)).name], test_fraction=0.2)
    assert {row["text"] for row in rows_of(backwards, test=True)} == held
    more = read(tmp_path, train=["a.jsonl"], test_fraction=0.4)
    assert held < {row["text"] for row in rows_of(more, test=True)}


def test_clients_by_the_default_name_are_taken_where_there_are_any(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}"} for i in range(8)]
    jsonl(tmp_path / "without.jsonl", rows)
    jsonl(tmp_path / "with.jsonl", [{**row, "client": i} for i, row in enumerate(rows)])
    jsonl(tmp_path / "test.jsonl", [{"text": "held"}])
    assert "client" not in read(tmp_path, train=["without.jsonl"], test=["test.jsonl"]).table.column_names
    assert "client" not in read(tmp_path, train=["with.jsonl"], test=["test.jsonl"], client=None).table.column_names
    # Test samples may belong to nobody.
    for named in (False, True):
        asked: dict[str, Any] = {"client": "client"} if named else {}
        corpus = read(tmp_path, train=["with.jsonl"], test=["test.jsonl"], **asked)
        assert corpus.table["client"][:] == [*map(str, range(8)), ""]
    with pytest.raises(UserError, match="no column 'client'"):
        read(tmp_path, train=["without.jsonl"], test=["test.jsonl"], client="client")


def test_the_cache_is_keyed_by_content_and_options(tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "corpora"

    def folders() -> set[str]:
        return {entry.name for entry in cached.iterdir() if not entry.name.endswith(".lock")}

    jsonl(tmp_path / "a.jsonl", ROWS)
    first = read(tmp_path, train=["a.jsonl"])
    assert folders() == {first.fingerprint}
    (tmp_path / "a.jsonl").rename(tmp_path / "moved.jsonl")
    again = read(tmp_path, train=["moved.jsonl"])
    assert again.fingerprint == first.fingerprint
    assert list(again.sources) == ["moved.jsonl"]
    assert first.table.cache_files == [{"filename": str(cached / first.fingerprint / "corpus.arrow")}]
    assert sorted(entry.name for entry in (cached / first.fingerprint).iterdir()) == ["corpus.arrow", "meta.json"]
    others = {
        read(tmp_path, train=["moved.jsonl"], labels=["topic"]).fingerprint,
        read(tmp_path, train=["moved.jsonl"], test_fraction=0.6).fingerprint,
        read(tmp_path, train=[jsonl(tmp_path / "b.jsonl", ROWS[:-1]).name]).fingerprint,
    }
    assert len(others) == 3
    assert folders() == {first.fingerprint, *others}


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", ROWS)
    first = read(tmp_path, train=["a.jsonl"])
    folder = tmp_path / "cache" / "corpora" / first.fingerprint
    half = folder.with_name(f"{folder.name}.partial")
    folder.rename(half)
    assert read(tmp_path, train=["a.jsonl"]).table["text"][:] == [row["text"] for row in ROWS]
    assert not half.exists()


def test_many_chunks_keep_their_order(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "y": i % 7, "client": i // 100} for i in range(3500)]
    corpus = read(tmp_path, train=[jsonl(tmp_path / "a.jsonl", rows).name], labels=["y"])
    assert corpus.table["text"][:] == [row["text"] for row in rows]
    assert corpus.table["label.y"][:] == [row["y"] for row in rows]


GOOD = '{"text": "a", "y": 1, "client": "p"}\n{"text": "b", "y": 2, "client": "q"}\n'
TOKENS = {"tokenised": True}
LABEL = {"labels": ["y"]}

BAD: list[tuple[str, str, str | bytes, dict[str, Any], int | None, str, list[str]]] = [
    # name of the case, file, content, options, line, key, words
    ("empty file", "a.jsonl", "", {}, None, "train", ["the file is empty"]),
    ("blank lines", "a.jsonl", "\n\n", {}, None, "train", ["no sample"]),
    ("blank text file", "a.txt", " \n\n", {}, None, "", ["no sample"]),
    ("header alone", "a.csv", "text,y\n", {}, None, "", ["no sample"]),
    ("texts all blank", "a.jsonl", '{"text": " "}\n', {}, None, "", ["none with any content"]),
    ("only comments", "a.conll", "-DOCSTART- O\n\n", {"tags": "t"}, None, "", ["no sample"]),
    (
        "missing column",
        "a.jsonl",
        GOOD,
        {"text": "txet"},
        None,
        "text",
        ["no column 'txet'", "did you mean 'text'", "client, text, y"],
    ),
    ("missing label", "a.csv", "text,label\na,b\n", LABEL, None, "labels", ["no column 'y'", "label, text"]),
    ("missing client", "a.jsonl", GOOD, {"client": "cleint"}, None, "client", ["did you mean 'client'"]),
    ("missing later", "a.jsonl", GOOD + '{"y": 1, "client": "p"}\n', {}, 3, "text", ["no column 'text'", "client, y"]),
    ("missing ids", "a.jsonl", GOOD, TOKENS, None, "tokenised", ["no column 'input_ids'"]),
    (
        "number as text",
        "a.jsonl",
        GOOD + '{"text": 3.5, "y": 1, "client": "p"}',
        {},
        3,
        "text",
        ["must be text", "a number (3.5)"],
    ),
    ("list as text", "a.jsonl", '{"text": ["a"]}', {}, 1, "text", ["must be text", "a list"]),
    (
        "object as client",
        "a.jsonl",
        '{"text": "a", "client": {"id": 3}}',
        {},
        1,
        "client",
        ["a string or an integer", "an object"],
    ),
    (
        "float as label",
        "a.jsonl",
        GOOD + '{"text": "c", "y": 1.5, "client": "p"}',
        LABEL,
        3,
        "labels",
        ["a string or an integer", "a number (1.5)"],
    ),
    (
        "truth as label",
        "a.jsonl",
        '{"text": "c", "y": true}',
        LABEL,
        1,
        "labels",
        ["a string or an integer", "a truth value"],
    ),
    ("null text", "a.jsonl", GOOD + '\n{"text": null, "y": 1, "client": "p"}', {}, 4, "text", ["'text' is null"]),
    ("null label", "a.jsonl", GOOD + '{"text": "c", "y": null, "client": "p"}', LABEL, 3, "labels", ["'y' is null"]),
    ("null client", "a.jsonl", '{"text": "c", "client": null}', {}, 1, "client", ["'client' is null"]),
    ("empty label", "a.csv", 'text,y\na,1\n"b\nb",\n', LABEL, 3, "labels", ["'y' is empty"]),
    ("empty client", "a.csv", "text,client\na,1\nb,\n", {}, 3, "client", ["'client' is empty"]),
    ("surrogate", "a.jsonl", '{"text": "\\ud800"}', {}, 1, "text", ["surrogate"]),
    ("not UTF-8", "a.txt", b"fine\nab\xe9\n", {}, 2, "", ["byte 7 (0xe9) is not UTF-8"]),
    ("not UTF-8 behind a mark", "a.csv", b"\xef\xbb\xbfte\xffxt\n", {}, 1, "", ["byte 5 (0xff)"]),
    ("UTF-16", "a.jsonl", GOOD.encode("utf-16"), {}, 1, "", ["byte 0 (0xff) is not UTF-8"]),
    ("malformed JSON", "a.jsonl", GOOD + '{"text": "c"', {}, 3, "", ["not valid JSON", "character 13"]),
    ("JSON array", "a.jsonl", "[\n]", {}, 1, "", ["not valid JSON", "one object a line"]),
    ("JSON list a line", "a.jsonl", '["a", "b"]\n', {}, 1, "", ["this line is a list", "one object a line"]),
    ("deep JSON", "a.jsonl", "[" * 100_000, {}, 1, "", ["nested too deeply"]),
    ("huge JSON number", "a.jsonl", '{"text": ' + "1" * 5000 + "}", {}, 1, "", ["number too long"]),
    ("too many fields", "a.csv", "text,y\na,1\nb,c,2\n", {}, 3, "", ["fields: 3, names in the header: 2"]),
    ("too few fields", "a.csv", 'text,y\n"a\na",1\nb\n', {}, 4, "", ["fields: 1, names in the header: 2"]),
    ("open quote", "a.csv", 'text,y\na,1\n"b,2\n', {}, 3, "", ["is a quote missing"]),
    ("stray quote", "a.csv", 'text,y\n"a"b,1\n', {}, 2, "", ["is a quote missing"]),
    ("long field", "a.csv", "text\n" + "x" * 200_000, {}, 2, "", ["field larger than field limit", "Parquet"]),
    ("header twice", "a.csv", "text,text\na,b\n", {}, 1, "", ["names 'text' twice"]),
    ("negative id", "a.jsonl", '{"input_ids": [1]}\n{"input_ids": [2, -1]}', TOKENS, 2, "tokenised", ["negative id"]),
    (
        "fractional id",
        "a.jsonl",
        '{"input_ids": [1]}\n{"input_ids": [2, 1.5]}',
        TOKENS,
        2,
        "tokenised",
        ["one entry is 1.5"],
    ),
    ("text as id", "a.jsonl", '{"input_ids": [1, "2"]}', TOKENS, 1, "tokenised", ["one entry is '2'"]),
    ("null id", "a.jsonl", '{"input_ids": [1]}\n{"input_ids": [2, null]}', TOKENS, 2, "tokenised", ["null entry"]),
    ("huge id", "a.jsonl", '{"input_ids": [1]}\n{"input_ids": [2147483648]}', TOKENS, 2, "tokenised", ["32 bits"]),
    ("one id", "a.jsonl", '{"input_ids": 1}', TOKENS, 1, "tokenised", ["a list of integers"]),
    (
        "targets too short",
        "a.jsonl",
        '{"input_ids": [1], "labels": [1]}\n{"input_ids": [2, 1], "labels": [1]}',
        TOKENS,
        2,
        "tokenised",
        ["not as long as"],
    ),
    ("targets too long", "a.jsonl", '{"input_ids": [], "labels": [1]}', TOKENS, 1, "tokenised", ["not as long as"]),
    ("negative target", "a.jsonl", '{"input_ids": [2, 1], "labels": [-100, -1]}', TOKENS, 1, "tokenised", ["not -100"]),
    (
        "mask too short",
        "a.jsonl",
        '{"input_ids": [2, 1], "attention_mask": [1]}',
        TOKENS,
        1,
        "tokenised",
        ["'attention_mask' is not as long"],
    ),
    (
        "left padding",
        "a.jsonl",
        '{"input_ids": [0, 1], "attention_mask": [0, 1]}',
        TOKENS,
        1,
        "tokenised",
        ["padding on the right"],
    ),
    (
        "mask of twos",
        "a.jsonl",
        '{"input_ids": [3, 1], "attention_mask": [2, 1]}',
        TOKENS,
        1,
        "tokenised",
        ["padding on the right"],
    ),
    (
        "one class",
        "a.jsonl",
        '{"text": "a", "y": 7}\n{"text": "b", "y": 7}\n{"text": "c", "y": 7}',
        LABEL,
        None,
        "labels",
        ["single class, '7'"],
    ),
    ("no test", "a.jsonl", GOOD, {"test_fraction": 1e-9}, None, "test_fraction", ["falls to the test part"]),
    ("no train", "a.jsonl", GOOD, {"test_fraction": 0.999999999}, None, "test_fraction", ["falls to the train part"]),
    ("wrong width", "a.conll", "a O\nb x O\n", {"tags": "t"}, 2, "", ["3 columns, the lines above have 2"]),
    ("one column", "a.conll", "a\n", {"tags": "t"}, 1, "", ["1 column;"]),
    ("unknown prefix", "a.conll", "a B-X\nb E-X\n", {"tags": "t"}, 2, "tags", ["unknown tag 'E-X'", "B-TYPE"]),
    ("nameless type", "a.conll", "a B-\n", {"tags": "t"}, 1, "tags", ["unknown tag 'B-'"]),
    (
        "no entity",
        "a.conll",
        "a O\n\nb O\n\nc O\n\nd O\n",
        {"tags": "t"},
        None,
        "tags",
        ["every tag in the last column is O"],
    ),
    ("client in text", "a.txt", "a\n", {"client": "who"}, None, "client", ["no named columns"]),
    ("client in CoNLL", "a.conll", "a O\n", {"tags": "t", "client": "who"}, None, "client", ["no named columns"]),
]


@pytest.mark.parametrize(
    ("name", "content", "options", "line", "key", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
def test_bad_input_is_told_in_one_message_and_leaves_nothing(
    tmp_path: Path,
    name: str,
    content: str | bytes,
    options: dict[str, Any],
    line: int | None,
    key: str,
    words: list[str],
) -> None:
    write(tmp_path / name, content)
    with pytest.raises(UserError) as caught:
        read(tmp_path, train=[name], **options)
    error = caught.value
    if key not in ("labels", "test_fraction") or "no column" in str(error):
        assert error.file is None or Path(error.file) == tmp_path / name
    assert error.line == line
    assert error.key == (f"data.corpus.{key}" if key else None)
    for word in words:
        assert word in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 500
    check_nothing_left(tmp_path)


def check_nothing_left(tmp_path: Path) -> None:
    left = [entry for entry in (tmp_path / "cache").rglob("*") if not entry.name.endswith(".lock")]
    assert left in ([], [tmp_path / "cache" / "corpora"])


def test_files_that_are_not_there(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(
        UserError, match=r"trian\.jsonl: data\.corpus\.train: no such file; did you mean 'train\.jsonl'"
    ):
        read(tmp_path, train=["trian.jsonl"])
    with pytest.raises(UserError, match=r"data\.corpus\.test: no such file; paths start from"):
        read(tmp_path, train=["train.jsonl"], test=["nowhere/t.jsonl"])
    (tmp_path / "all.jsonl").mkdir()
    with pytest.raises(UserError, match="a folder: list its files"):
        read(tmp_path, train=["all.jsonl"])
    with pytest.raises(UserError, match="the same content as"):
        read(tmp_path, train=["train.jsonl"], test=[jsonl(tmp_path / "copy.jsonl", ROWS).name])
    check_nothing_left(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    jsonl(tmp_path / "a.jsonl", ROWS)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"a\.jsonl: cannot be read: Permission denied"):
        read(tmp_path, train=["a.jsonl"])


def test_broken_parquet(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "whole.parquet", text=[f"text number {i}" * 9 for i in range(3000)]).read_bytes()
    broken = {
        "cut": whole[: len(whole) // 2],
        "tiny": b"PAR1",
        "text": GOOD.encode(),
        "damaged": whole[:100] + bytes(len(whole) // 2) + whole[100 + len(whole) // 2 :],
    }
    for name, content in broken.items():
        file = write(tmp_path / f"{name}.parquet", content)
        with pytest.raises(UserError, match="not a whole Parquet file") as caught:
            read(tmp_path, train=[file.name])
        assert caught.value.file == file
        check_nothing_left(tmp_path)


NOT_UTF8 = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"text": [1, 2]}, {}, ["column 'text' must be text, it is int64"]),
        ({"text": [["a"]]}, {}, ["must be text, it is list"]),
        ({"text": ["a"] * 1500 + [None]}, {}, ["row 1501 (the first is 1)", "'text' is null"]),
        ({"text": ["a", "b"], "client": ["p", None]}, {}, ["row 2", "'client' is null"]),
        ({"text": ["a", "b"], "y": [0.5, 1.0]}, LABEL, ["must be a string or an integer, it is double"]),
        ({"text": ["a", "b"], "y": [True, False]}, LABEL, ["it is bool"]),
        ({"text": ["a", "b"], "y": ["x", ""]}, LABEL, ["row 2", "is empty"]),
        ({"text": NOT_UTF8}, {}, ["cannot be read as text", "UTF8"]),
        ({"input_ids": [[1], [1.5]]}, TOKENS, ["must be a list of integers, it is list<"]),
        ({"input_ids": [[1], [2, None]]}, TOKENS, ["row 2", "null entry"]),
        ({"input_ids": [[1], [2, 2**40]]}, TOKENS, ["row 2", "32 bits"]),
        ({"input_ids": [[1], [2, -3]]}, TOKENS, ["row 2", "negative id"]),
        ({"input_ids": [[1]], "labels": [["x"]]}, TOKENS, ["'labels' must be a list of integers"]),
    ],
)
def test_wrong_parquet_columns(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], words: list[str]
) -> None:
    parquet(tmp_path / "a.parquet", **columns)
    with pytest.raises(UserError) as caught:
        read(tmp_path, train=["a.parquet"], **options)
    for word in [str(tmp_path / "a.parquet"), *words]:
        assert word in str(caught.value)
    check_nothing_left(tmp_path)


def test_files_must_have_the_same_columns(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": "a", "client": "p"}])
    jsonl(tmp_path / "b.jsonl", [{"text": "b"}])
    for order in (["a.jsonl", "b.jsonl"], ["b.jsonl", "a.jsonl"]):
        with pytest.raises(UserError, match=r"b\.jsonl: data\.corpus\.client: no column 'client' .*a\.jsonl has"):
            read(tmp_path, train=order)
    jsonl(tmp_path / "c.jsonl", [{"input_ids": [1], "labels": [1]}])
    jsonl(tmp_path / "d.jsonl", [{"input_ids": [1]}])
    jsonl(tmp_path / "e.jsonl", [{"input_ids": [1], "labels": 1}])
    with pytest.raises(
        UserError, match=r"d\.jsonl: .*no column 'labels' with a list of integers, which .*c\.jsonl has"
    ):
        read(tmp_path, train=["c.jsonl"], test=["d.jsonl"], tokenised=True)
    with pytest.raises(
        UserError, match=r"e\.jsonl: .*no column 'labels' with a list of integers, which .*c\.jsonl has"
    ):
        read(tmp_path, train=["c.jsonl"], test=["e.jsonl"], tokenised=True)


def test_the_test_file_is_checked_like_the_others(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", ROWS)
    jsonl(tmp_path / "b.jsonl", [{"text": "  "}])
    with pytest.raises(UserError, match=r"b\.jsonl: there is no sample"):
        read(tmp_path, train=["a.jsonl"], test=["b.jsonl"])
    check_nothing_left(tmp_path)
