import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import pytest

from fedsim.data import hub
from fedsim.data.corpus import Corpus
from fedsim.errors import UserError
from fedsim.observe.observer import Silent
from fedsim.scenario.data import HubCorpus


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def read(tmp_path: Path, name: str, *, observer: Silent | None = None, **options: Any) -> Corpus:
    return hub.load(HubCorpus(name=name, **options), tmp_path, tmp_path / "cache", observer or Silent())


def table(rows: int, start: int = 0) -> datasets.Dataset:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "topic": datasets.ClassLabel(names=["sports", "arts", "unused"]),
            "stars": datasets.Value("int8"),
            "author": datasets.Value("string"),
        }
    )
    numbers = range(start, start + rows)
    columns = {
        "text": [f"text {i}" for i in numbers],
        "topic": [i % 2 for i in numbers],
        "stars": [i % 5 + 8 for i in numbers],
        "author": [f"a{i % 3}" for i in numbers],
    }
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """A folder as `save_to_disk` writes it, with rows picked out of a larger table."""
    parts = {"train": table(20).select(range(1, 19)), "validation": table(6, start=100)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    return "saved"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder of data files."""
    inside = tmp_path / "plain"
    inside.mkdir()
    for name, rows, start in (("train", 12, 0), ("test", 4, 50)):
        lines = (json.dumps({"text": f"t{i}", "y": i % 3}) + "\n" for i in range(start, start + rows))
        (inside / f"{name}.jsonl").write_text("".join(lines))
    return "plain"


def test_a_saved_folder_keeps_the_order_of_its_classes(tmp_path: Path, saved: str) -> None:
    corpus = read(tmp_path, saved, test_split="validation", labels=("topic", "stars"), client="author")
    assert corpus.labels == {"topic": ("sports", "arts", "unused"), "stars": ("8", "9", "10", "11", "12")}
    assert corpus.table["text"][:] == [f"text {i}" for i in (*range(1, 19), *range(100, 106))]
    assert corpus.table["label.topic"][:] == [i % 2 for i in (*range(1, 19), *range(100, 106))]
    assert corpus.table["client"][:] == [f"a{i % 3}" for i in (*range(1, 19), *range(100, 106))]
    assert corpus.table["test"][:] == [False] * 18 + [True] * 6
    assert "train/state.json" in corpus.sources


def test_a_folder_of_files_is_loaded_and_cached(tmp_path: Path, folder: str) -> None:
    corpus = read(tmp_path, folder, labels=("y",))
    assert corpus.table["text"][:] == [f"t{i}" for i in (*range(12), *range(50, 54))]
    assert corpus.labels == {"y": ("0", "1", "2")}
    assert sorted(corpus.sources) == ["test.jsonl", "train.jsonl"]
    kept = tmp_path / "cache" / "corpora" / corpus.fingerprint
    assert sorted(entry.name for entry in kept.iterdir()) == ["corpus.arrow", "meta.json"]

    assert read(tmp_path, folder, labels=("y",)).fingerprint == corpus.fingerprint
    (tmp_path / folder / ".git").mkdir()
    (tmp_path / folder / ".git" / "HEAD").write_text("main")
    assert read(tmp_path, folder, labels=("y",)).fingerprint == corpus.fingerprint
    with (tmp_path / folder / "test.jsonl").open("a") as file:
        file.write('{"text": "more", "y": 0}\n')
    assert read(tmp_path, folder, labels=("y",)).fingerprint != corpus.fingerprint


def test_a_part_of_the_training_split_may_be_held_out(tmp_path: Path, folder: str) -> None:
    corpus = read(tmp_path, folder, test_split=None, test_fraction=0.4)
    assert len(corpus.table) == 12
    assert 0 < sum(corpus.table["test"]) < 12
    sliced = read(tmp_path, folder, train_split="train[:50%]", test_split="train[50%:]")
    assert sliced.table["test"][:] == [False] * 6 + [True] * 6


def test_a_saved_single_split(tmp_path: Path) -> None:
    table(30).save_to_disk(str(tmp_path / "one"))
    assert len(read(tmp_path, "one", test_split=None, test_fraction=0.5).table) == 30
    with pytest.raises(UserError, match=r"one: data\.corpus\.test_split: no split 'test'; .*test_split: null"):
        read(tmp_path, "one")


def failure(tmp_path: Path, name: str, **options: Any) -> UserError:
    """The error, which must be a single short line and leave nothing behind."""
    with pytest.raises(UserError) as caught:
        read(tmp_path, name, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    left = [entry for entry in (tmp_path / "cache").rglob("*") if not entry.name.endswith(".lock")]
    assert left in ([], [tmp_path / "cache" / "corpora"])
    return caught.value


def test_what_a_folder_lacks_is_named(tmp_path: Path, saved: str, folder: str) -> None:
    lacks = failure(tmp_path, saved)
    assert lacks.key == "data.corpus.test_split"
    assert "allowed: train, validation" in str(lacks)
    lacks = failure(tmp_path, saved, train_split="trian", test_split="validation")
    assert lacks.key == "data.corpus.train_split"
    assert "did you mean 'train'" in str(lacks)
    lacks = failure(tmp_path, folder, test_split="validation")
    assert lacks.key == "data.corpus.test_split"
    assert "['train', 'test']" in str(lacks)
    assert "test_split: null" in str(lacks)
    assert failure(tmp_path, folder, train_split="dev").key == "data.corpus.train_split"
    assert failure(tmp_path, folder, subset="nope").key == "data.corpus.subset"
    lacks = failure(tmp_path, folder, text="txet")
    assert lacks.key == "data.corpus.text"
    assert "plain [train]: data.corpus.text: no column 'txet'; did you mean 'text'? allowed: text, y" in str(lacks)
    assert failure(tmp_path, folder, client="who").key == "data.corpus.client"
    assert "must be text, it is int64" in str(failure(tmp_path, folder, text="y"))
    assert "no such folder" in str(failure(tmp_path, "./nowhere"))
    assert "no such folder" in str(failure(tmp_path, "data/sets/nowhere"))


def test_broken_and_empty_folders(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    assert "doesn't contain any data files" in str(failure(tmp_path, "empty"))
    (tmp_path / folder / "train.jsonl").write_text('{"text": "a"}\n{"text":')
    assert "plain: data.corpus.name: cannot be loaded: " in str(failure(tmp_path, folder))
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "dataset_dict.json").write_text("{")
    assert "half: data.corpus.name: cannot be loaded: " in str(failure(tmp_path, "half"))


def test_unlabelled_and_empty_rows(tmp_path: Path) -> None:
    rows = table(6).to_dict()
    rows["topic"][4] = -1
    rows["text"][2] = " "
    parts = {"train": table(9), "test": datasets.Dataset.from_dict(rows, features=table(1).features)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "glue"))
    unlabelled = failure(tmp_path, "glue", labels=("topic",))
    assert "glue [test]: data.corpus.labels: row 5 (the first is 1): column 'topic' has the class -1" in str(unlabelled)
    notes = Notes()
    assert len(read(tmp_path, "glue", observer=notes).table) == 14
    assert notes.texts == ["glue [test]: samples without content left out: 1, the first in row 3"]


def test_splits_must_agree_on_the_classes(tmp_path: Path) -> None:
    other = table(5).cast_column("topic", datasets.ClassLabel(names=["arts", "sports", "unused"]))
    for name, part in (("train", table(5)), ("test", other)):
        part.save_to_disk(str(tmp_path / "apart" / name))
    (tmp_path / "apart" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert "the splits name different classes" in str(failure(tmp_path, "apart", labels=("topic",)))


def test_offline_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    offline = failure(tmp_path, "someone/something")
    assert offline.file == "someone/something"
    assert offline.key == "data.corpus.name"
    assert "save_to_disk" in str(offline)


@contextmanager
def server(status: int, headers: dict[str, str]) -> Iterator[str]:
    """A stand-in for the hub that gives one answer to everything."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Lets requests to this machine out, and closes what they leave open."""
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    yield monkeypatch
    huggingface_hub.close_session()


def test_no_network_is_one_message_without_retries(tmp_path: Path, online: pytest.MonkeyPatch) -> None:
    def no_load(*_: Any, **__: Any) -> None:
        pytest.fail("a hub that cannot be reached must not be asked for data")

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    online.setattr(datasets.config, "HF_ENDPOINT", endpoint)
    online.setattr(datasets, "load_dataset", no_load)
    gone = failure(tmp_path, "someone/something")
    assert str(gone).startswith(f"someone/something: data.corpus.name: {endpoint} cannot be reached (")
    assert "HF_HUB_OFFLINE=1" in str(gone)


def test_a_hub_that_does_not_answer_is_not_waited_for(tmp_path: Path, online: pytest.MonkeyPatch) -> None:
    online.setattr(hub, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        online.setattr(datasets.config, "HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "cannot be reached (" in str(failure(tmp_path, "someone/something"))


def test_an_unknown_name(tmp_path: Path, online: pytest.MonkeyPatch) -> None:
    with server(404, {"X-Error-Code": "RepoNotFound"}) as endpoint:
        online.setattr(datasets.config, "HF_ENDPOINT", endpoint)
        unknown = failure(tmp_path, "someone/something")
    assert unknown.key == "data.corpus.name"
    assert "doesn't exist on the Hub" in str(unknown)
    assert "check the name" in str(unknown)


def test_a_data_set_of_the_hub_is_kept(tmp_path: Path, online: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, subset: str | None, split: list[str]) -> list[datasets.Dataset]:
        asked.append((name, subset, split))
        return [table(8), table(4, start=90)]

    online.setattr(datasets, "load_dataset", load_dataset)
    with server(200, {}) as endpoint:
        online.setattr(datasets.config, "HF_ENDPOINT", endpoint)
        corpus = read(tmp_path, "someone/something", subset="small", labels=("topic",))
    # The hub is gone now, and is not needed any more.
    again = read(tmp_path, "someone/something", subset="small", labels=("topic",))
    assert asked == [("someone/something", "small", ["train", "test"])]
    assert again.fingerprint == corpus.fingerprint
    assert again.table["text"][:] == [f"text {i}" for i in (*range(8), *range(90, 94))]
    assert list(again.sources) == ["someone/something"]


def test_nothing_is_written_outside_the_cache(tmp_path: Path, folder: str) -> None:
    def everything() -> set[str]:
        home = Path(datasets.config.HF_CACHE_HOME)
        return {str(path) for path in home.rglob("*")} if home.exists() else set()

    before = everything()
    read(tmp_path, folder)
    assert everything() == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"cache", folder}
