"""Tokenizers: trained so that the same text always gives the same ids, or loaded."""

import hashlib
import importlib.metadata
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsim.data.cached import make_once
from fedsim.data.samples import fingerprint_of
from fedsim.errors import UserError
from fedsim.observe.observer import Observer
from fedsim.scenario.data import Tokenizer

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerFast

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""Special tokens of a trained tokenizer, with ids 0 to 4."""
_KEY = "data.tokenizer.checkpoint"
_PATIENCE_S = 10.0
_ALPHABET = 1000
_TOKENIZER_FILES = ("*.json", "*.txt", "*.model")
_LARGEST_BYTES = 50_000_000  # of a tokenizer's file; weights are larger


def identity(spec: Tokenizer) -> list[Any]:
    """What decides a tokenizer besides its training text: the spec and library versions.

    A folder counts by its content, wherever it is; a hub name stands for what the hub, or the local cache, has of it.
    """
    origin: Any = spec.checkpoint
    if spec.checkpoint and Path(spec.checkpoint).is_dir():
        files = sorted({file for pattern in _TOKENIZER_FILES for file in Path(spec.checkpoint).glob(pattern)})
        small = [file for file in files if file.stat().st_size <= _LARGEST_BYTES]
        origin = [[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in small]
    versions = [importlib.metadata.version(name) for name in ("tokenizers", "transformers")]
    return [spec.kind, spec.vocabulary, origin, versions]


def train_or_load(
    spec: Tokenizer, texts: Callable[[], Iterator[str]], cache: Path, fingerprint: str, observer: Observer
) -> "PreTrainedTokenizerFast":
    """The tokenizer of a scenario.

    Args:
        spec: What to train, or the checkpoint to load.
        texts: Gives the training texts, each time it is called.
        cache: Folder in which trained tokenizers are kept, in the format of `transformers`.
        fingerprint: Stands for the training texts.
        observer: Shown the progress of training.

    Raises:
        UserError: The checkpoint has no tokenizer, cannot be reached, or lacks a special token that BERT needs.
    """
    if spec.checkpoint is not None:
        return _loaded(spec.checkpoint)
    from transformers import PreTrainedTokenizerFast

    folder = cache / "tokenizers" / fingerprint_of("tokenizer", fingerprint, identity(spec))

    def build(empty: Path) -> None:
        train = _train_wordpiece if spec.kind == "wordpiece" else _train_byte_bpe
        with one_thread(), observer.task("training the tokenizer", None) as advance:
            trained = train(spec.vocabulary, lambda: _counted(texts(), advance))
        wrapped = PreTrainedTokenizerFast(tokenizer_object=trained, **SPECIAL)  # type: ignore[no-untyped-call]
        wrapped.save_pretrained(empty)

    make_once(folder, build)
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return loaded


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep `tokenizers` to one thread.

    After it has used more, every process forked later warns and may hang; it gains a quarter of a minute at most. The
    library looks at this variable at every call and has no other switch, so the variable is set for a moment only.
    """
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _counted(texts: Iterator[str], advance: Callable[[int], None]) -> Iterator[str]:
    for text in texts:
        yield text
        advance(1)


def _train_wordpiece(vocabulary: int, texts: Callable[[], Iterator[str]]) -> "tokenizers.Tokenizer":
    """BERT's uncased WordPiece, with ids in the order of the pieces' code points.

    Left alone, the trainer numbers the continuing characters (`##x`) in the order of a hash map. The numbers break ties
    between merges, so not only the ids but the vocabulary itself would change from run to run. Listing these pieces
    first, as if they were special tokens, fixes their numbers.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    seen: Counter[str] = Counter()
    for text in texts():
        seen.update(normalizer.normalize_str(text))
    frequent = sorted((char for char in seen if not char.isspace()), key=lambda char: (-seen[char], char))
    alphabet = sorted(frequent[: min(_ALPHABET, vocabulary // 4)])
    inside = [c for c in alphabet if len(splitter.pre_tokenize_str(normalizer.normalize_str(f"a{c}a"))) == 1]
    model = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk_token"]))
    model.normalizer, model.pre_tokenizer = normalizer, splitter
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL.values(), *(f"##{char}" for char in inside)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    model.train_from_iterator(texts(), trainer)
    pieces = [*SPECIAL.values(), *sorted(model.get_vocab().keys() - SPECIAL.values())]
    ids = {piece: index for index, piece in enumerate(pieces)}
    result = Tokenizer(models.WordPiece(ids, unk_token=SPECIAL["unk_token"]))
    result.normalizer, result.pre_tokenizer, result.decoder = normalizer, splitter, decoders.WordPiece()
    return _with_special(result)


def _train_byte_bpe(vocabulary: int, texts: Callable[[], Iterator[str]]) -> "tokenizers.Tokenizer":
    """GPT-2's byte-level BPE between BERT's special tokens; ids are in the order of the merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    result = Tokenizer(models.BPE())
    result.pre_tokenizer, result.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    result.train_from_iterator(texts(), trainer)
    return _with_special(result)


def _with_special(tokenizer: "tokenizers.Tokenizer") -> "tokenizers.Tokenizer":
    from tokenizers import processors

    tokenizer.add_special_tokens(list(SPECIAL.values()))
    cls, sep = SPECIAL["cls_token"], SPECIAL["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (cls, sep)],
    )
    return tokenizer


def _loaded(checkpoint: str) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    if checkpoint.startswith((".", "/", "~")) and not Path(checkpoint).is_dir():
        raise UserError(f"there is no folder '{checkpoint}'", key=_KEY)
    try:
        tokenizer = _fetched(checkpoint)
    except Exception as error:  # the libraries below have no base class of their own for what can go wrong
        cause = " ".join(str(error).split()) or type(error).__name__
        message = (
            f"no tokenizer can be loaded from '{checkpoint}': give a folder that holds one (relative to the scenario), "
            f"or the name of a hub model that is in the Hugging Face cache or can be downloaded ({cause})"
        )
        raise UserError(message, key=_KEY) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"'{checkpoint}' has no fast tokenizer: give one with a tokenizer.json", key=_KEY)
    kinds = ("pad_token", "cls_token", "sep_token", "mask_token")
    if missing := [kind for kind in kinds if getattr(tokenizer, kind) is None]:
        raise UserError(f"the tokenizer of '{checkpoint}' has no {', '.join(missing)}: give that of a BERT", key=_KEY)
    ids = tokenizer("a")["input_ids"]
    if (ids[0], ids[-1]) != (tokenizer.cls_token_id, tokenizer.sep_token_id):
        message = f"the tokenizer of '{checkpoint}' does not put {tokenizer.cls_token} and {tokenizer.sep_token} around"
        raise UserError(f"{message} a text: give that of a BERT", key=_KEY)
    return tokenizer


def _fetched(checkpoint: str) -> Any:
    """A tokenizer from a folder, from the cache, or else from the hub."""
    from huggingface_hub import HfApi
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
    except Exception:
        if Path(checkpoint).is_dir():
            raise
    HfApi().model_info(checkpoint, timeout=_PATIENCE_S)  # fails at once where downloading would retry for a minute
    return AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
