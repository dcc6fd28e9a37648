"""What every part of a scenario shares: frozen, strict types, unknown keys refused, one docstring a field."""

from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, NamedTuple, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

Key = tuple[str | int, ...]
"""A place in a scenario: ("methods", "fedavg", "weighting"); list items by index."""

# Strict: YAML has types of its own, so that `rounds: "5"` or `seed: true` is a mistake and not a number.
Count = Annotated[int, Strict(), Field(ge=1)]
Whole = Annotated[int, Strict(), Field(ge=0)]
Positive = Annotated[float, Strict(), Field(gt=0.0)]
NonNegative = Annotated[float, Strict(), Field(ge=0.0)]
Fraction = Annotated[float, Strict(), Field(gt=0.0, lt=1.0)]
Rate = Annotated[float, Strict(), Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Strict(), Field(ge=0.0, le=1.0)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Field(min_length=1)]


class Problem(NamedTuple):
    """A mistake: where it is, relative to the section that found it, and what to change."""

    key: Key
    message: str


PROBLEMS = "problems"
"""Error type that carries a list of `Problem` in its context."""


class Config(BaseModel):
    """A frozen, validated piece of a scenario; a key it does not know is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        defer_build=True,  # a class that is only imported, as on hosts, takes no time for its validator
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, raw: Any) -> Any:
        # `engine:` with nothing below it reads as null, and means a section without settings.
        if not isinstance(raw, dict):
            return raw
        return {name: value for name, value in raw.items() if value is not None or not cls._is_section(name)}

    @classmethod
    def _is_section(cls, name: str) -> bool:
        field = cls.model_fields.get(name)
        return field is not None and isinstance(field.default, Config) and NoneType not in get_args(field.annotation)

    def problems(self) -> Iterator[Problem]:
        """What is wrong although every single value is allowed."""
        yield from ()

    @model_serializer(mode="wrap")
    def _read_back_the_same(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Validating a dump marks every field as given, which `unsaid` fields must not be.
        unsaid = self.unsaid() - self.model_fields_set
        return {name: value for name, value in write(self).items() if name not in unsaid}

    def unsaid(self) -> frozenset[str]:
        """Fields whose default is not the same as saying that value; a dump leaves them out unless they were given."""
        return frozenset()

    def changed(self, name: str) -> bool:
        """The field differs from its default: somebody asked for it."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @model_validator(mode="after")
    def _without_problems(self) -> Self:
        if found := list(self.problems()):
            text = "; ".join(f"{dotted(problem.key)}: {problem.message}" for problem in found)
            raise PydanticCustomError(PROBLEMS, "{text}", {"text": text, "problems": found})
        return self


def dotted(key: Key) -> str:
    """``("a", "b", 0)`` as ``a.b.0``, the form that `--set` takes."""
    return ".".join(map(str, key))
