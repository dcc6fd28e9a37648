from pathlib import Path

from fedsim.engine.shared import _marked, unseen


def test_a_folder_is_seen_where_its_mark_is_and_can_be_written_beside(tmp_path: Path) -> None:
    folders = [tmp_path / "run", tmp_path / "cache"]
    with _marked(folders) as marks:
        assert [Path(path).parent for path in marks] == folders
        assert unseen(marks) == []
        other = dict.fromkeys(marks, "another folder of that name")
        assert unseen(other) == [str(folder) for folder in folders]
        assert unseen({str(tmp_path / "nowhere" / "mark"): "word"}) == [str(tmp_path / "nowhere")]
    assert [*folders[0].iterdir(), *folders[1].iterdir()] == []


def test_a_folder_that_cannot_be_written_to_is_not_seen(tmp_path: Path) -> None:
    full = tmp_path / f"{'x' * 250}"  # beside it, no name is short enough for a file
    full.write_text("word")
    assert unseen({str(full): "word"}) == [str(tmp_path)]
