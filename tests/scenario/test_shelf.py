from pathlib import Path

import pytest

from fedsim.errors import UserError
from fedsim.scenario.load import load
from fedsim.scenario.shelf import find, folders, listing, shipped

from .example import TEXT, changed


@pytest.fixture
def shelves(tmp_path: Path) -> tuple[Path, Path]:
    own, packaged = tmp_path / "own", tmp_path / "packaged"
    own.mkdir()
    packaged.mkdir()
    (own / "tiny.yaml").write_text(changed(("summary: two methods on a few clients", "summary: mine")))
    (own / "broken.yml").write_text(changed(("seed: 7", "seed: x")))
    (own / "notes.txt").write_text("not a scenario")
    (packaged / "tiny.yaml").write_text(TEXT)
    (packaged / "quickstart.yaml").write_text(TEXT)
    (packaged / "scenario.schema.json").write_text("{}")
    return own, packaged


def test_own_scenarios_come_first(shelves: tuple[Path, Path]) -> None:
    own, packaged = shelves
    assert find("tiny", shelves) == own / "tiny.yaml"
    assert find("quickstart", shelves) == packaged / "quickstart.yaml"
    assert find(str(packaged / "tiny.yaml"), shelves) == packaged / "tiny.yaml"


def test_an_unknown_name_gets_the_nearest(shelves: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"no scenario 'quikstart'; did you mean 'quickstart'\? allowed: broken, quick"):
        find("quikstart", shelves)
    with pytest.raises(UserError, match="there are no others"):
        find("tiny", [])


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none"), "none.yaml"):
        with pytest.raises(UserError, match="there is no such file") as caught:
            find(name, ())
        assert caught.value.file == Path(name)


def test_a_broken_scenario_is_listed_with_its_error(shelves: tuple[Path, Path]) -> None:
    broken, quickstart, tiny = listing(shelves)
    assert [row.name for row in (broken, quickstart, tiny)] == ["broken", "quickstart", "tiny"]
    assert broken.error is not None
    assert "seed: wanted an integer, given 'x'" in broken.error
    assert (quickstart.clients, quickstart.methods, quickstart.error) == (20, ("fedavg", "fedbt", "light"), None)
    assert tiny.summary == "mine"


def test_names_are_looked_up_here_and_then_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "quickstart.yaml").write_text(TEXT)
    assert folders() == (Path("scenarios"), shipped())
    assert find("quickstart").resolve() == tmp_path / "scenarios" / "quickstart.yaml"
    assert shipped().is_dir()


@pytest.mark.parametrize("path", sorted(shipped().glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_scenario_is_right(path: Path) -> None:
    loaded = load(path)
    assert loaded.scenario.name.replace("-", "_") == path.stem.replace("-", "_")
    assert loaded.scenario.summary, "the listing shows it"
    assert loaded.text.startswith("# yaml-language-server: $schema=./scenario.schema.json\n")
