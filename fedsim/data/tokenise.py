"""From a corpus to a folder of tokens."""

import hashlib
import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fedsim.data import tokenizer as tokenizers_
from fedsim.data.corpus import Corpus
from fedsim.data.samples import fingerprint_of
from fedsim.data.saved import merge_batches, save
from fedsim.errors import UserError
from fedsim.observe.observer import Observer
from fedsim.scenario.data import Tokenizer

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerFast

Ids = npt.NDArray[np.int32]
_BATCH = 1000
_IGNORED = -100


def identity(corpus: Corpus, spec: Tokenizer, max_tokens: int) -> str:
    """Names a folder of tokens by all that decides its content, this code included."""
    rules = [inspect.getsource(importlib.import_module(name)) for name in (__name__, tokenizers_.__name__)]
    tokenizer = [] if corpus.tokenised else tokenizers_.identity(spec)
    return fingerprint_of("tokens", corpus.fingerprint, tokenizer, max_tokens, rules)


def build(folder: Path, corpus: Corpus, spec: Tokenizer, max_tokens: int, cache: Path, observer: Observer) -> None:
    """Fill an empty folder: `samples`, `meta.json`, and `tokenizer` where the corpus is text.

    Raises:
        UserError: no tokenizer, an unusable sample, or no training sample left.
    """
    special = dict.fromkeys(("pad", "cls", "sep", "mask"), -1)
    if corpus.tokenised:
        lists = _as_given(corpus, max_tokens)
        content = lists["input_ids"]
        vocabulary = 1 + max(int(column.values.to_numpy().max(initial=0)) for column in lists.values())
        kept = np.asarray(pc.list_value_length(content)) > 0
    else:
        tokenizer = tokenizers_.train_or_load(spec, lambda: _texts(corpus), cache, corpus.fingerprint, observer)
        tokenizer.save_pretrained(folder / "tokenizer")
        special = {name: int(getattr(tokenizer, f"{name}_token_id")) for name in special}
        vocabulary = len(tokenizer)
        lists, kept = _encoded(corpus, tokenizer, max_tokens, observer)
    if not kept.all():
        observer.note(f"left out {int((~kept).sum())} samples without a token")
    flat, clients = _flat(corpus)
    columns = {name: column.filter(pa.array(kept)) for name, column in (lists | flat).items()}
    if not (~columns["test"].to_numpy(zero_copy_only=False)).any():
        raise UserError("no training sample is left", key="data.corpus")
    meta: dict[str, Any] = {
        "clients": clients,
        "labels": corpus.labels,
        "tags": {
            name: ["O", *(f"{end}-{kind}" for kind in kinds for end in "BI")] for name, kinds in corpus.tags.items()
        },
        "vocabulary": vocabulary,
        **special,
    }
    meta["fingerprint"] = _fingerprint(meta, columns)
    save(columns, _features(columns), meta["fingerprint"], folder / "samples")
    merge_batches(folder / "samples")
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _batches(corpus: Corpus, *columns: str) -> Iterator[pa.Table]:
    yield from corpus.table.select_columns(list(columns)).with_format("arrow").iter(_BATCH)


def _texts(corpus: Corpus) -> Iterator[str]:
    """The training texts."""
    for batch in _batches(corpus, "text", "test"):
        yield from batch["text"].filter(pc.invert(batch["test"])).to_pylist()


def _encoded(
    corpus: Corpus, tokenizer: "PreTrainedTokenizerFast", max_tokens: int, observer: Observer
) -> tuple[dict[str, pa.Array], npt.NDArray[np.bool_]]:
    """Columns `input_ids` and `tags.<name>` of all samples, and which have more than special tokens."""
    encoder = tokenizer.backend_tokenizer
    encoder.no_padding()
    encoder.enable_truncation(max_tokens)
    encoder.encode_special_tokens = True  # a text that speaks of "[MASK]" has no masked token for that
    spans = {name: f"spans.{name}" for name in corpus.tags}
    lists: dict[str, list[Ids]] = {"input_ids": [], **{f"tags.{name}": [] for name in spans}}
    kept: list[bool] = []
    with tokenizers_.one_thread(), observer.task("tokenising", len(corpus.table)) as advance:
        for batch in _batches(corpus, "text", *spans.values()):
            encodings = encoder.encode_batch(batch["text"].to_pylist())
            lists["input_ids"] += [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
            kept += [0 in encoding.special_tokens_mask for encoding in encodings]
            for name, column in spans.items():
                pairs = zip(encodings, batch[column].to_pylist(), strict=True)
                lists[f"tags.{name}"] += [_bio(encoding, entities or []) for encoding, entities in pairs]
            advance(len(encodings))
    return {name: _large_list(values) for name, values in lists.items()}, np.array(kept)


def _bio(encoding: "tokenizers.Encoding", entities: list[dict[str, int]]) -> Ids:
    """[tokens]: tags of the pieces that entities cover; of two entities in one piece the first counts."""
    special = np.array(encoding.special_tokens_mask, dtype=bool)
    tags = np.where(special, _IGNORED, 0).astype(np.int32)
    if entities:
        starts, ends = np.array(encoding.offsets).T
        for entity in sorted(entities, key=lambda entity: entity["start"]):
            inside = (starts < entity["end"]) & (ends > entity["start"]) & (tags == 0)
            pieces = np.flatnonzero(inside)
            tags[pieces] = 2 + 2 * entity["type"]
            tags[pieces[:1]] -= 1
    return tags


def _as_given(corpus: Corpus, max_tokens: int) -> dict[str, pa.Array]:
    """Columns `input_ids` and `targets` of data that is tokenised already, checked."""
    names = {"input_ids": "input_ids", "labels": "targets"}
    present = [name for name in names if name in corpus.table.column_names]
    table = corpus.table.select_columns(present).with_format("arrow")[:].combine_chunks()
    lists = {names[name]: table[name].combine_chunks().cast(pa.large_list(pa.int32())) for name in present}
    lengths = np.asarray(pc.list_value_length(lists["input_ids"]))
    if lengths.max(initial=0) > max_tokens:
        message = f"sample {int(lengths.argmax()) + 1} has {int(lengths.max())} tokens: raise max_tokens to that number"
        raise UserError(message, key="data.max_tokens")
    if lists["input_ids"].values.to_numpy().min(initial=0) < 0:
        raise UserError("a token id is negative", key="data.corpus.tokenised")
    if "targets" in lists and (np.asarray(pc.list_value_length(lists["targets"])) != lengths).any():
        raise UserError("`labels` and `input_ids` of a sample differ in length", key="data.corpus.tokenised")
    return lists


def _flat(corpus: Corpus) -> tuple[dict[str, pa.Array], list[str]]:
    """Columns with one entry a sample, and the names of the clients."""
    labels = [f"label.{name}" for name in corpus.labels]
    named = ["client"] if "client" in corpus.table.column_names else []
    table = corpus.table.select_columns(["test", *named, *labels]).with_format("arrow")[:]
    columns = {name: _codes(table[name]) for name in labels}
    columns["test"] = table["test"].combine_chunks()
    clients: list[str] = []
    if named:
        clients = sorted(filter(None, pc.unique(table["client"]).to_pylist()))
        columns["client"] = _codes(pc.index_in(table["client"], pa.array(clients, pa.string())))
    return columns, clients


def _codes(column: pa.ChunkedArray) -> pa.Array:
    return pc.fill_null(column, -1).cast(pa.int32()).combine_chunks()


def _large_list(values: list[Ids]) -> pa.Array:
    # 64-bit offsets, so that `Tokens` can use them as they are and a corpus may have more than 2^31 tokens
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(values)))


def _features(columns: dict[str, pa.Array]) -> Any:
    import datasets

    lists, integer = datasets.LargeList(datasets.Value("int32")), datasets.Value("int32")
    kinds = {name: lists if pa.types.is_large_list(column.type) else integer for name, column in columns.items()}
    return datasets.Features(kinds | {"test": datasets.Value("bool")})


def _fingerprint(meta: dict[str, Any], columns: dict[str, pa.Array]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(columns):
        column = columns[name]
        parts = [column.offsets, column.values] if pa.types.is_large_list(column.type) else [column]
        digest.update(name.encode())
        for part in parts:
            digest.update(part.to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()
