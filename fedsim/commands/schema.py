"""`schema`: what a scenario may say, for editors."""

from fedsim.commands.options import print_json


def schema() -> None:
    """The JSON Schema of scenario files."""
    from fedsim.scenario.editor import json_schema

    print_json(json_schema(), indent=2)
