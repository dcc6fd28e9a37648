import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from fedsim.data import tokenizer
from fedsim.errors import UserError
from fedsim.observe.observer import Silent
from fedsim.scenario.data import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Every word as often as any other: each merge is a tie, which a careless trainer breaks at random.
WORDS = ["".join(letters) for letters in product("aeiou", "bcdfg", "xyz", "aeiou")]
TEXTS = [" ".join(WORDS[i : i + 25]).capitalize() + ", (é); naïve!" for i in range(0, len(WORDS), 25)]

TRAIN = """
import json, sys
from fedsim.data import tokenizer
texts = json.loads(sys.stdin.read())
with tokenizer.one_thread():
    for train in (tokenizer._train_wordpiece, tokenizer._train_byte_bpe):
        print(train(310, lambda: iter(texts)).to_str())
"""


def texts() -> Iterator[str]:
    return iter(TEXTS)


def made(kind: str, cache: Path, vocabulary: int = 310) -> PreTrainedTokenizerFast:
    spec = Tokenizer.model_validate({"kind": kind, "vocabulary": vocabulary})
    return tokenizer.train_or_load(spec, texts, cache, "these texts", Silent())


@pytest.mark.slow
def test_training_gives_the_same_in_every_process() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", TRAIN],
            input=json.dumps(TEXTS),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
    assert outputs.pop().count("\n") == 2


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
@pytest.mark.parametrize("vocabulary", [300, 310, 401])
def test_vocabulary_has_the_size_asked_for(kind: str, vocabulary: int, cache: Path) -> None:
    trained = made(kind, cache, vocabulary)
    assert len(trained) == vocabulary
    assert sorted(trained.get_vocab().values()) == list(range(vocabulary))
    assert trained.convert_ids_to_tokens(list(range(5))) == SPECIAL


@pytest.mark.parametrize("kind", ["wordpiece", "byte_bpe"])
def test_saved_tokenizer_opens_in_transformers(kind: str, cache: Path, tmp_path: Path) -> None:
    trained = made(kind, cache)
    trained.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("Abxa, (ecya)!", "[MASK] nothing known: ß€ 漢"):
        ids = trained(text)["input_ids"]
        assert opened(text)["input_ids"] == ids
        assert (ids[0], ids[-1]) == (2, 3)
    names = ("pad_token_id", "unk_token_id", "cls_token_id", "sep_token_id", "mask_token_id")
    assert [getattr(opened, name) for name in names] == [0, 1, 2, 3, 4]
    assert opened("a", "b")["input_ids"].count(3) == 2


def test_wordpiece_is_berts_uncased_one(cache: Path) -> None:
    trained = made("wordpiece", cache)
    pieces = trained.tokenize("Abxa, (É) naïve")
    assert "".join(piece.removeprefix("##") for piece in pieces) == "abxa,(e)naive"
    ordered = trained.convert_ids_to_tokens(list(range(5, len(trained))))
    assert ordered == sorted(ordered)
    assert "##," not in trained.get_vocab()
    assert trained.tokenize("漢") == ["[UNK]"]


def test_byte_bpe_keeps_every_byte(cache: Path) -> None:
    trained = made("byte_bpe", cache)
    text = "Héllo,  漢 wörld\n"
    assert trained.decode(trained(text, add_special_tokens=False)["input_ids"]) == text


def test_rare_characters_give_way_to_the_vocabulary_asked_for(tmp_path: Path) -> None:
    def many() -> Iterator[str]:
        return iter(["common words " * 3, "".join(chr(0x0400 + i) + " " for i in range(200))])

    trained = tokenizer.train_or_load(Tokenizer(vocabulary=300), many, tmp_path, "many", Silent())
    assert len(trained) <= 300
    assert "[UNK]" not in trained.tokenize("common words")


def test_a_second_call_trains_nothing(tmp_path: Path) -> None:
    first = made("wordpiece", tmp_path)
    again = tokenizer.train_or_load(
        Tokenizer(vocabulary=310), lambda: pytest.fail("read again"), tmp_path, "these texts", Silent()
    )
    assert again.get_vocab() == first.get_vocab()
    other = tokenizer.train_or_load(
        Tokenizer(vocabulary=310), lambda: iter(["other"] * 9), tmp_path, "other texts", Silent()
    )
    assert other.get_vocab() != first.get_vocab()


def test_environment_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    made("wordpiece", tmp_path / "a")
    assert "TOKENIZERS_PARALLELISM" not in os.environ
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    made("wordpiece", tmp_path / "b")
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"


def checkpoint(name: str | Path) -> Tokenizer:
    return Tokenizer(kind="checkpoint", checkpoint=str(name))


def load(name: str | Path, cache: Path) -> PreTrainedTokenizerFast:
    return tokenizer.train_or_load(checkpoint(name), texts, cache, "unused", Silent())


def test_checkpoint_folder_is_loaded(cache: Path, tmp_path: Path) -> None:
    trained = made("wordpiece", cache)
    trained.save_pretrained(tmp_path)
    assert load(tmp_path, cache).get_vocab() == trained.get_vocab()


def test_identity_follows_the_content_of_a_checkpoint_folder(cache: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        made("wordpiece", cache).save_pretrained(folder)
    before = tokenizer.identity(checkpoint(here))
    assert tokenizer.identity(checkpoint(there)) == before
    made("wordpiece", cache, 401).save_pretrained(there)
    assert tokenizer.identity(checkpoint(there)) != before


def test_missing_checkpoints_are_explained(tmp_path: Path) -> None:
    for name, message in (
        (tmp_path / "nothing", "there is no folder"),
        (tmp_path, "no tokenizer can be loaded from"),
        ("nobody/no-such-model", "no tokenizer can be loaded from 'nobody/no-such-model'.*downloaded"),
    ):
        with pytest.raises(UserError, match=message) as error:
            load(name, tmp_path)
        assert error.value.key == "data.tokenizer.checkpoint"


def test_checkpoint_without_bert_tokens_is_refused(cache: Path, tmp_path: Path) -> None:
    model = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0, "a": 1, "[PAD]": 2}, unk_token="[UNK]"))
    lacking = PreTrainedTokenizerFast(tokenizer_object=model, pad_token="[PAD]")  # type: ignore[no-untyped-call]
    lacking.save_pretrained(tmp_path / "lacking")
    with pytest.raises(UserError, match="has no cls_token, sep_token, mask_token"):
        load(tmp_path / "lacking", cache)
    trained = made("wordpiece", cache)
    trained.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="$A", special_tokens=[])
    trained.save_pretrained(tmp_path / "bare")
    with pytest.raises(UserError, match=r"does not put \[CLS\] and \[SEP\] around"):
        load(tmp_path / "bare", cache)
