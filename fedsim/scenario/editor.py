"""The JSON Schema of a scenario, with which editors complete and check as one types.

``python -m fedsim.scenario.editor FILE`` writes it.
"""

import json
import sys
from pathlib import Path
from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema

from fedsim.methods.registry import kinds
from fedsim.scenario.base import Config
from fedsim.scenario.meanings import meanings
from fedsim.scenario.schema import Scenario


class _Explained(GenerateJsonSchema):
    """A schema in which every key says what it means."""

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        own, section = super().model_schema(schema), cast(type[Config], schema["cls"])
        for name, text in meanings(section).items():
            if text:
                own["properties"][name]["description"] = text
        return own


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a scenario file: its keys, types and bounds, not what sections ask of each other."""
    schema = Scenario.model_json_schema(schema_generator=_Explained)
    definitions = schema["$defs"]
    by_kind = {
        definition["properties"]["kind"].get("const"): name
        for name, definition in definitions.items()
        if "kind" in definition.get("properties", {})
    }
    for kind, name in by_kind.items():
        if kind is not None and kind not in kinds():
            _require_kind(definitions[name])
    methods = schema["properties"]["methods"]
    ((pattern, method),) = methods.pop("patternProperties").items()
    methods["propertyNames"] = {"pattern": pattern}
    methods["additionalProperties"] = {"required": ["kind"], **method}
    methods["properties"] = {
        kind: {"anyOf": [{"$ref": f"#/$defs/{by_kind[kind]}"}, {"type": "null"}]} for kind in kinds()
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def text() -> str:
    """The schema as the committed file has it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _require_kind(definition: dict[str, Any]) -> None:
    definition["required"] = ["kind", *definition.get("required", [])]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
