"""The whole scenario: one world, and the methods compared in it."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, model_validator

from fedsim.methods.registry import MethodSpec, kinds
from fedsim.scenario.base import Config, Key, Problem, Whole
from fedsim.scenario.checks import disagreements
from fedsim.scenario.data import Data
from fedsim.scenario.engine import Engine, Outputs
from fedsim.scenario.faults import AnyFault
from fedsim.scenario.fleet import Fleet
from fedsim.scenario.model import Model
from fedsim.scenario.participation import Participation
from fedsim.scenario.phases import Phases

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]


class Scenario(Config):
    """One YAML file: a world (data, model, fleet, phases) and one or more methods."""

    name: Name
    """Short name; run folders start with it."""
    summary: str = ""
    """One line for listings."""
    seed: Whole = 0
    """Root of every random stream."""
    data: Data = Data()
    """Which text, and whose it is."""
    model: Model = Model()
    """What is trained."""
    fleet: Fleet
    """The devices."""
    phases: Phases
    """What is trained, in which order."""
    methods: Annotated[dict[Name, MethodSpec], Field(min_length=1)]
    """Methods to compare, by a name of your choice; `kind` may be left out where the name is one."""
    faults: tuple[AnyFault, ...] = ()
    """What goes wrong on the way; a trip meets at most one of them, the first that strikes it."""
    engine: Engine = Engine()
    """Where training runs."""
    outputs: Outputs = Outputs()
    """What a run leaves behind."""

    @model_validator(mode="before")
    @classmethod
    def _kind_from_name(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("methods"), dict):
            return raw
        methods = {
            name: {"kind": name, **(options or {})}
            if name in kinds() and (options is None or isinstance(options, dict))
            else options
            for name, options in raw["methods"].items()
        }
        return {**raw, "methods": methods}

    def problems(self) -> Iterator[Problem]:
        """The sections agree with each other."""
        return disagreements(self)

    def participations(self) -> Iterator[tuple[Key, Participation]]:
        """Every participation section, with the key that declares it."""
        for phase in self.phases.federated:
            yield (*phase.key, "participation"), phase.config.participation
        for name, method in self.methods.items():
            for kind in ("further_pretrain", "finetune"):
                part: Participation | None = getattr(method.phases, kind).participation
                if part is not None:
                    yield ("methods", name, "phases", kind, "participation"), part

    def models(self) -> dict[str, Model]:
        """Every model of the scenario by the key that declares it."""
        own = {f"methods.{n}.model": m.model for n, m in self.methods.items() if m.model is not None}
        return {"model": self.model, **own}
