import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from fedsim.data import tokenise, tokenizer
from fedsim.data.corpus import Corpus
from fedsim.data.tokens import Ragged, Tokens, prepare
from fedsim.errors import UserError
from fedsim.observe.observer import Silent
from fedsim.scenario.data import Data, DeclaredCorpus, DocstringCorpus, FileCorpus, Tokenizer

WORDS = ["alpha", "beta", "gamma", "delta", "naïve"]
TEXT = "Alpha calls beta_gamma(delta), then naïve alpha."
NETWORKX = Data(corpus=DocstringCorpus(libraries=("networkx",)), max_tokens=64)


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def corpus(rows: list[dict[str, Any]], labels: dict[str, tuple[str, ...]], tags: dict[str, tuple[str, ...]]) -> Corpus:
    integer = datasets.Value("int32")
    known: dict[str, Any] = {
        "text": datasets.Value("string"),
        "client": datasets.Value("string"),
        "test": datasets.Value("bool"),
        "input_ids": datasets.List(integer),
        "labels": datasets.List(integer),
        **{f"label.{name}": datasets.ClassLabel(names=list(names)) for name, names in labels.items()},
        **{f"spans.{name}": datasets.List({"start": integer, "end": integer, "type": integer}) for name in tags},
    }
    features = datasets.Features({name: known[name] for name in rows[0]})
    columns = {name: [row[name] for row in rows] for name in features}
    table = datasets.Dataset.from_dict(columns, features=features)
    return Corpus(lambda: table, "f" * 64, labels, tags, tokenised="input_ids" in columns)


def opened(source: Corpus, folder: Path, max_tokens: int = 128, notes: Silent | None = None) -> Tokens:
    folder.mkdir(exist_ok=True)
    cache = folder.parent / "cache"
    tokenise.build(folder, source, Tokenizer(vocabulary=300), max_tokens, cache, notes or Silent())
    return Tokens.open(folder)


def sample(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "test": False, **more}


def span(text: str, word: str, kind: int, nth: int = 0) -> dict[str, int]:
    start = -1
    for _ in range(nth + 1):
        start = text.index(word, start + 1)
    return {"start": start, "end": start + len(word), "type": kind}


@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5), max_size=8))
def test_ragged_gives_back_its_lists(lists: list[list[int]]) -> None:
    values = np.array([value for each in lists for value in each], dtype=np.int32)
    ragged = Ragged(values, np.cumsum([0, *map(len, lists)], dtype=np.int64))
    assert len(ragged) == len(lists)
    assert [each.tolist() for each in ragged] == lists
    assert ragged.lengths.tolist() == [len(each) for each in lists]
    assert [ragged[index].tolist() for index in range(len(lists))] == lists
    for outside in (len(lists), -1):
        with pytest.raises(IndexError):
            ragged[outside]


def test_text_becomes_what_the_saved_tokenizer_says(tmp_path: Path) -> None:
    rows = [sample(TEXT), sample("beta", test=True), sample(" ".join(WORDS * 20))]
    tokens = opened(corpus(rows, {}, {}), tmp_path / "t", max_tokens=20)
    saved = AutoTokenizer.from_pretrained(tmp_path / "t" / "tokenizer")
    for row, ids in zip(rows, tokens.ids, strict=True):
        assert ids.tolist() == saved(row["text"], truncation=True, max_length=20)["input_ids"]
    assert tokens.ids.lengths.tolist()[2] == 20
    assert tokens.test.tolist() == [False, True, False]
    assert (tokens.vocabulary, tokens.pad, tokens.cls, tokens.sep, tokens.mask) == (len(saved), 0, 2, 3, 4)
    assert tokens.client is None
    assert (tokens.clients, tokens.labels, tokens.tags, tokens.targets) == ((), {}, {}, None)


def test_special_tokens_in_a_text_are_plain_text(tmp_path: Path) -> None:
    tokens = opened(corpus([sample("The [MASK] and [SEP] tokens, [PAD] too.")], {}, {}), tmp_path / "t")
    ids = tokens.ids[0].tolist()
    assert [id_ for id_ in ids if id_ < 5] == [tokens.cls, tokens.sep]


def test_tags_follow_the_pieces(tmp_path: Path) -> None:
    spans = [span(TEXT, "beta_gamma", 1), span(TEXT, "Alpha", 0), span(TEXT, "naïve", 1)]
    source = corpus([sample(TEXT, **{"spans.names": spans})], {}, {"names": ("thing", "deed")})
    tokens = opened(source, tmp_path / "t")
    assert tokens.tag_names == {"names": ("O", "B-thing", "I-thing", "B-deed", "I-deed")}
    saved = AutoTokenizer.from_pretrained(tmp_path / "t" / "tokenizer")
    pieces = saved.convert_ids_to_tokens(tokens.ids[0].tolist())
    tags = tokens.tags["names"][0].tolist()
    assert tags[0] == tags[-1] == -100
    found: list[tuple[int, str]] = []
    for piece, tag in zip(pieces, tags, strict=True):
        if tag in (1, 3):
            found.append((tag, piece))
        elif tag in (2, 4):
            assert found[-1][0] == tag - 1
            found[-1] = (tag - 1, found[-1][1] + piece.removeprefix("##"))
    assert found == [(1, "alpha"), (3, "beta_gamma"), (3, "naive")]


@given(st.data())
def test_tags_agree_with_the_characters(data: st.DataObject) -> None:
    words = data.draw(st.lists(st.sampled_from([*WORDS, "Wörd", "x", "(", "東京"]), min_size=1, max_size=12))
    kinds = data.draw(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=len(words), max_size=len(words)))
    joins = data.draw(st.lists(st.sampled_from([" ", "  ", " - "]), min_size=len(words), max_size=len(words)))
    text, spans = "", []
    for word, kind, join in zip(words, kinds, joins, strict=True):
        if kind is not None:
            spans.append({"start": len(text), "end": len(text) + len(word), "type": kind})
        text += word + join
    for encoder in ENCODERS:
        encoding = encoder.encode(text)
        tags = tokenise._bio(encoding, spans)
        begun = set()
        for (start, end), special, tag in zip(encoding.offsets, encoding.special_tokens_mask, tags, strict=True):
            if special:
                assert tag == -100
                continue
            over = [i for i, each in enumerate(spans) if start < each["end"] and end > each["start"]]
            if not over:
                assert tag == 0
                continue
            base = 2 * spans[over[0]]["type"]
            assert tag == (2 + base if over[0] in begun else 1 + base)
            begun.add(over[0])
        assert begun == set(range(len(spans)))


def _encoders() -> list[Any]:
    texts = [TEXT, " ".join(WORDS), "Wörd x ( 東京"]
    with tokenizer.one_thread():
        return [train(300, lambda: iter(texts)) for train in (tokenizer._train_wordpiece, tokenizer._train_byte_bpe)]


ENCODERS = _encoders()


def test_truncation_cuts_tags_too(tmp_path: Path) -> None:
    spans = [span(TEXT, "Alpha", 0), span(TEXT, "alpha", 0)]
    tokens = opened(corpus([sample(TEXT, **{"spans.n": spans})], {}, {"n": ("thing",)}), tmp_path / "t", 8)
    assert tokens.tags["n"].lengths.tolist() == tokens.ids.lengths.tolist() == [8]
    assert (tokens.tags["n"].values == 1).sum() == 1


def test_labels_and_clients_are_codes(tmp_path: Path) -> None:
    rows = [
        sample("alpha", client="zoe", **{"label.mood": 1}),
        sample("beta", client="", **{"label.mood": None}),
        sample("gamma", client="adam", **{"label.mood": 0}),
    ]
    tokens = opened(corpus(rows, {"mood": ("sad", "glad")}, {}), tmp_path / "t")
    assert tokens.client is not None
    assert tokens.clients == ("adam", "zoe")
    assert tokens.client.tolist() == [1, -1, 0]
    assert tokens.labels["mood"].tolist() == [1, -1, 0]
    assert tokens.label_names == {"mood": ("sad", "glad")}
    assert tokens.client.dtype == tokens.labels["mood"].dtype == np.int32


def test_samples_without_a_token_are_left_out_with_a_note(tmp_path: Path) -> None:
    rows = [
        sample("alpha", client="a", **{"spans.n": []}),
        sample(" \u200b ", client="b", **{"spans.n": []}),
        sample("beta", client="c", **{"spans.n": [{"start": 0, "end": 4, "type": 0}]}),
    ]
    notes = Notes()
    tokens = opened(corpus(rows, {}, {"n": ("thing",)}), tmp_path / "t", notes=notes)
    assert "left out 1 samples without a token" in notes.texts
    assert tokens.client is not None
    assert [tokens.clients[code] for code in tokens.client] == ["a", "c"]
    assert tokens.tags["n"][1].tolist()[1] == 1


def test_columns_are_views_of_one_memory_map(tmp_path: Path) -> None:
    rows = [sample(f"alpha {i}", client="c", **{"spans.n": [], "label.l": 0}) for i in range(2500)]
    tokens = opened(corpus(rows, {"l": ("x", "y")}, {"n": ("thing",)}), tmp_path / "t")
    assert tokens.client is not None
    assert len(tokens.ids) == 2500
    for array in (tokens.ids.values, tokens.ids.offsets, tokens.tags["n"].values, tokens.client, tokens.labels["l"]):
        assert not array.flags.owndata
        assert not array.flags.writeable
    assert tokens.ids.values.dtype == np.int32
    assert tokens.ids.offsets.dtype == np.int64
    again = datasets.load_from_disk(str(tmp_path / "t" / "samples"))
    assert again[7]["input_ids"] == tokens.ids[7].tolist()


def test_tokenised_data_is_taken_as_it_is(tmp_path: Path) -> None:
    rows = [
        {"input_ids": [5, 9, 2], "labels": [-100, 11, -100], "test": False},
        {"input_ids": [], "labels": [], "test": False},
        {"input_ids": [7], "labels": [-100], "test": True},
    ]
    tokens = opened(corpus(rows, {}, {}), tmp_path / "t", max_tokens=3)
    assert [each.tolist() for each in tokens.ids] == [[5, 9, 2], [7]]
    assert tokens.targets is not None
    assert [each.tolist() for each in tokens.targets] == [[-100, 11, -100], [-100]]
    assert (tokens.vocabulary, tokens.pad, tokens.cls, tokens.sep, tokens.mask) == (12, -1, -1, -1, -1)
    assert not (tmp_path / "t" / "tokenizer").exists()


@pytest.mark.parametrize(
    ("row", "key", "message"),
    [
        ({"input_ids": [1, 2, 3, 4]}, "data.max_tokens", "sample 2 has 4 tokens: raise max_tokens"),
        ({"input_ids": [1, -2]}, "data.corpus.tokenised", "negative"),
        ({"input_ids": [1, 2], "labels": [1]}, "data.corpus.tokenised", "differ in length"),
    ],
)
def test_unusable_ids_are_refused(row: dict[str, Any], key: str, message: str, tmp_path: Path) -> None:
    good = {"input_ids": [1], "test": False} | ({"labels": [1]} if "labels" in row else {})
    with pytest.raises(UserError, match=message) as error:
        opened(corpus([good, {**row, "test": False}], {}, {}), tmp_path / "t", max_tokens=3)
    assert error.value.key == key


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training sample"):
        opened(corpus([{"input_ids": [1], "test": True}], {}, {}), tmp_path / "t")


def test_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    rows = [sample("alpha beta"), sample("gamma")]
    one, same = (opened(corpus(rows, {}, {}), tmp_path / name) for name in "ab")
    other = opened(corpus([*rows, sample("gamma")], {}, {}), tmp_path / "c")
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.slow
def test_prepared_docstrings_are_ready_to_open(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(NETWORKX, Path(), cache, Silent())
    tokens = Tokens.open(folder)
    assert len(tokens.ids) > 1000
    assert tokens.ids.lengths.max() == 64
    assert tokens.vocabulary == 8000
    assert set(tokens.label_names) == {"kind", "library"}
    assert tokens.tag_names["names"][:3] == ("O", "B-argument", "I-argument")
    assert all(name.startswith("networkx") for name in tokens.clients)
    for position in (tokens.ids.offsets[:-1], tokens.ids.offsets[1:] - 1):
        assert set(tokens.tags["names"].values[position]) == {-100}
    assert (tokens.tags["names"].values == -100).sum() == 2 * len(tokens.ids)
    monkeypatch.setattr(tokenise, "build", lambda *arguments: pytest.fail("built again"))
    assert prepare(NETWORKX, Path(), cache, Silent()) == folder


def test_folder_depends_on_all_that_decides_its_content() -> None:
    text, ids = corpus([sample("alpha")], {}, {}), corpus([{"input_ids": [1], "test": False}], {}, {})
    small, large = Tokenizer(vocabulary=300), Tokenizer(vocabulary=301)
    names = [tokenise.identity(text, spec, longest) for spec in (small, large) for longest in (8, 9)]
    assert len(set(names)) == 4
    assert tokenise.identity(ids, small, 8) == tokenise.identity(ids, large, 8)


def test_checkpoint_folder_counts_from_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("\n".join(f"alpha beta {i}" for i in range(40)))
    source = corpus([sample("alpha beta 0123456789")], {}, {})
    made = tokenizer.train_or_load(
        Tokenizer(vocabulary=300), lambda: tokenise._texts(source), tmp_path / "c", "x", Silent()
    )
    assert isinstance(made, PreTrainedTokenizerFast)
    made.save_pretrained(tmp_path / "near")
    data = Data(
        corpus=FileCorpus(train=("data.txt",), test_fraction=0.3),
        tokenizer=Tokenizer(kind="checkpoint", checkpoint="near"),
    )
    tokens = Tokens.open(prepare(data, tmp_path, tmp_path / "cache", Silent()))
    assert len(tokens.ids) == 40
    assert tokens.vocabulary == len(made)


def test_declared_data_cannot_be_prepared(tmp_path: Path) -> None:
    data = Data(corpus=DeclaredCorpus(samples_per_client=3, tokens=8))
    with pytest.raises(UserError, match="price mode") as error:
        prepare(data, tmp_path, tmp_path, Silent())
    assert error.value.key == "data.corpus.kind"


def test_opening_imports_nothing_heavy(tmp_path: Path) -> None:
    opened(corpus([sample("alpha")], {}, {}), tmp_path / "t")
    code = (
        "import sys; from pathlib import Path; from fedsim.data.tokens import Tokens; "
        f"Tokens.open(Path({str(tmp_path / 't')!r})); import json; print(json.dumps(sorted(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "transformers", "datasets", "pandas", "ray", "tokenizers"} & set(json.loads(output))
    assert heavy == set()
