"""A small, right scenario that tests change line by line."""

from pathlib import Path

TEXT = """\
name: tiny
summary: two methods on a few clients
seed: 7
data:
  corpus: {kind: docstrings, libraries: [stdlib, numpy]}
  tokenizer: {kind: wordpiece, vocabulary: 900}
  partition: {kind: iid, min_samples: 2}
  max_tokens: 32
  central_fraction: 0.2
model: {hidden: 64, layers: 4, heads: 4, feed_forward: 128, max_positions: 64}
fleet:
  clients: 20
  source: {kind: catalog, devices: {phone_low: 1}, networks: {4g: 1.0}}
phases:
  pretrain: {steps: 10, warmup_steps: 2}
  further_pretrain:
    rounds: 2
    participation: {clients_per_round: 4}
  finetune:
    rounds: 3
    participation: {clients_per_round: 10, over_selection: 1.3, deadline_s: 60}
    local: {epochs: 2, optimizer: {kind: adamw, learning_rate: 1e-3}}
    task: {kind: sequence, label: library}
  evaluate: {max_samples: 50}
methods:
  fedavg:
  fedbt: {pool: needed}
  light: {kind: fedavg, model: {hidden: 32, layers: 2, heads: 2, feed_forward: 64, max_positions: 32}}
engine: {kind: inline}
outputs: {folder: out}
"""


def write(folder: Path, text: str = TEXT) -> Path:
    """The text as a file."""
    file = folder / "tiny.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def changed(*changes: tuple[str, str]) -> str:
    """The example with pieces replaced; each piece must be there once."""
    text = TEXT
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
