from pathlib import Path

from fedsim.trace.reader import read_run
from fedsim.web.follow import Followed
from fedsim.web.stages import ordered, timeline


def test_groups_stand_as_in_a_model() -> None:
    given = ["head", "layer.10", "lora", "embeddings", "layer.2", "exit.1"]
    assert ordered(given) == ["embeddings", "layer.2", "layer.10", "head", "exit.1", "lora"]


def test_a_timeline_says_which_groups_each_round_changes(trained: Path) -> None:
    rounds = read_run(trained).rounds
    changed = rounds[rounds["method"] == "fedbt"].set_index("round")["trained_groups"]
    found = timeline(Followed(trained), "fedbt")
    assert found["groups"] == ["embeddings", "layer.0", "layer.1", "layer.2", "layer.3", "head"]
    assert found["first"] == found["last"] == list(range(5))
    for group, shares in zip(found["groups"], found["share"], strict=True):
        assert shares == [float(group in changed[round_].split()) for round_ in range(5)]
    assert 1.0 not in found["share"][0]  # FedBT leaves the embeddings as they are
    assert found["phase"] == ["further_pretrain"] * 3 + ["finetune"] * 2


def test_of_many_rounds_it_tells_the_share_of_each_piece(trained: Path) -> None:
    whole, found = timeline(Followed(trained), "fedbt"), timeline(Followed(trained), "fedbt", most=2)
    assert (found["first"], found["last"]) == ([0, 3], [2, 4])
    for shares, own in zip(found["share"], whole["share"], strict=True):
        assert shares == [round(sum(own[:3]) / 3, 3), sum(own[3:]) / 2]


def test_a_student_has_its_own_depth(priced: Path) -> None:
    assert timeline(Followed(priced), "light")["groups"] == ["embeddings", "layer.0", "layer.1", "head"]
