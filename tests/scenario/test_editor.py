import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from fedsim.errors import UserError
from fedsim.scenario.editor import json_schema, text
from fedsim.scenario.load import load
from fedsim.scenario.marks import read

from .example import TEXT, changed, write

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_committed_schema_is_current() -> None:
    committed = (ROOT / "scenarios" / "scenario.schema.json").read_text(encoding="utf-8")
    assert committed == text(), "run `make schema`"


def test_the_example_is_valid(validator: jsonschema.Draft202012Validator, tmp_path: Path) -> None:
    validator.validate(read(write(tmp_path))[0].data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed: 7", "sed: 7"),
        ("kind: iid", "kind: idd"),
        ("kind: docstrings, ", ""),
        ("kind: fedavg, ", ""),
        ("layers: 4", "layers: 0"),
        ("{pool: needed}", "{pool: half}"),
        ("    rounds: 3\n", ""),
        ("  light:", "  l/2:"),
    ],
)
def test_an_editor_sees_mistakes(old: str, new: str, validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(yaml.safe_load(changed((old, new)).replace("1e-3", "0.001")))
    assert validator.is_valid(yaml.safe_load(TEXT.replace("1e-3", "0.001")))


def test_every_key_explains_itself() -> None:
    for name, definition in json_schema()["$defs"].items():
        for key, field in definition["properties"].items():
            assert key == "kind" or field.get("description"), f"{name}.{key}"


def readme(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_scenario_in_the_readme_is_right(validator: jsonschema.Draft202012Validator, tmp_path: Path) -> None:
    (block,) = readme("yaml")
    file = write(tmp_path, block)
    load(file)
    validator.validate(read(file)[0].data)


def test_the_mistakes_in_the_readme_are_told_like_that(tmp_path: Path) -> None:
    (block,) = readme("yaml")
    (report,) = (text for text in readme("text") if text.startswith("two-ways.yaml"))
    file = write(tmp_path, block.replace(" layers:", " layer:").replace("wifi: 0.7", "wifi: 0"))
    with pytest.raises(UserError) as caught:
        load(file)
    told = str(caught.value).replace(str(file), "two-ways.yaml").splitlines()
    shown = [line.removesuffix("...") for line in report.splitlines()]
    assert len(told) == len(shown)
    assert all(line.startswith(start) for line, start in zip(told, shown, strict=True)), told
