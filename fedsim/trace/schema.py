"""The tables of a trace: every column with its type, its unit and what it means.

A number whose unit is in its name (`upload_bytes`, `end_s`, `energy_j`) needs no look here; docs/trace.md lists all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from fedsim.errors import FedsimError, choose
from fedsim.plan import Slot

SCHEMA_VERSION = 1
VERSION_KEY = "fedsim.schema_version"

_TYPES = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: Literal["string", "int64", "float64", "bool"]
    unit: str
    """What one of it is (byte, FLOP, s, J, ...); empty for names and flags."""
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One table of a trace."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    round: str = "round"
    """The column that holds a row's round."""
    hashed: bool = True
    """Part of the trace's hash; tables about the machine that ran the simulation are not."""

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of its rows."""
        return pa.schema([pa.field(c.name, _TYPES[c.type], nullable=c.nullable) for c in self.columns])

    def conform(self, rows: Mapping[str, Any] | pa.Table) -> pa.Table:
        """Rows as an Arrow table of exactly this schema.

        Args:
            rows: One entry a column: an array, a list, or one value for all rows (a row of its own where nothing is
                longer). In numpy arrays NaN stays NaN; a missing value is None, or a masked entry of `numpy.ma`.

        Raises:
            FedsimError: A column is missing, unknown, of another length, of another type, or has nulls it may not have.
        """
        given = dict(zip(rows.column_names, rows.columns, strict=True)) if isinstance(rows, pa.Table) else rows
        for name in given.keys() - self._types.keys():
            raise FedsimError(f"trace table {self.name} has no column {name!r}: {choose(name, self.schema.names)}")
        count = next((len(value) for value in given.values() if not _is_scalar(value)), 1)
        return pa.Table.from_arrays(
            [self._conform(column, given, count) for column in self.columns], schema=self.schema
        )

    @property
    def strings(self) -> list[str]:
        """Names of the columns that hold text."""
        return [column.name for column in self.columns if column.type == "string"]

    def gather(self, chunks: Sequence[Mapping[str, Any]]) -> pa.Table:
        """What was given in several times as one table; see `conform`. Single rows become columns first."""
        names = self.schema.names
        if all(chunk.keys() == self._types.keys() and all(map(_is_scalar, chunk.values())) for chunk in chunks):
            return self.conform({name: [chunk[name] for chunk in chunks] for name in names})
        return pa.concat_tables([self.conform(chunk) for chunk in chunks])

    @cached_property
    def _types(self) -> dict[str, pa.DataType]:
        return {column.name: _TYPES[column.type] for column in self.columns}

    def _conform(self, column: Column, given: Mapping[str, Any], count: int) -> pa.Array | pa.ChunkedArray:
        """One column of so many rows."""
        fault = "is missing"
        if column.name in given:
            try:
                array = _array(given[column.name], self._types[column.name], count)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                fault = f"cannot hold this as {column.type}: {error}"
            else:
                if len(array) == count and (column.nullable or not array.null_count):
                    return array
                fault = "may not be null" if len(array) == count else f"has {len(array)} rows, another has {count}"
        raise FedsimError(f"column {column.name} of trace table {self.name} {fault}")


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, np.generic, pa.Scalar))


def _array(value: Any, type_: pa.DataType, count: int) -> pa.Array | pa.ChunkedArray:
    if isinstance(value, np.ndarray):
        array = pa.array(value, from_pandas=False)
    elif _is_scalar(value):
        array = pa.repeat(value if isinstance(value, pa.Scalar) else pa.scalar(value), count)
    else:
        array = value if isinstance(value, (pa.Array, pa.ChunkedArray)) else pa.array(value, from_pandas=False)
    if array.type == type_:
        return array
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    elif pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if len(array) and array.type != pa.null() and _is_text(array.type) != _is_text(type_):
        # Arrow would read "3" as a number and write 3 as text.
        raise TypeError(f"it is {array.type}")
    return array if array.type == type_ else array.cast(type_)


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def slots_text(slots: Iterable[Slot]) -> str:
    """Local layers in one readable word a slot: ``(0, 3, (7, 8))`` is ``"0 3 7+8"``."""
    return " ".join("+".join(map(str, (slot,) if isinstance(slot, int) else slot)) for slot in slots)


def parse_slots(text: str) -> tuple[Slot, ...]:
    """The inverse of `slots_text`."""
    words = ([int(layer) for layer in word.split("+")] for word in text.split())
    return tuple(word[0] if len(word) == 1 else tuple(word) for word in words)


def _text(name: str, meaning: str) -> Column:
    return Column(name, "string", "", meaning)


def _count(name: str, unit: str, meaning: str) -> Column:
    return Column(name, "int64", unit, meaning)


def _number(name: str, unit: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name, "float64", unit, meaning, nullable)


_METHOD = _text("method", "name of the method in the scenario")
_PHASE = _text("phase", "`pretrain`, `further_pretrain`, `finetune`, or `finetune.LABEL` of several tasks")
_STAGE = _count("stage", "index", "stage within the phase, from 0")
_ROUND = _count("round", "index", "round over the whole method, from 0")

_SPLIT = (
    _count("cut_download_bytes", "byte", "part of `download_bytes`: messages across the cut of a split model"),
    _count("cut_upload_bytes", "byte", "part of `upload_bytes`: messages across the cut of a split model"),
    _count("server_flops_forward", "FLOP", "spent by the server in forward passes of a split model"),
    _count("server_flops_backward", "FLOP", "spent by the server in backward passes of a split model"),
)

TRIPS = Table(
    "trips",
    "One row for each trip that ended in a round: what it was to cost, and what it did cost.",
    (
        _METHOD,
        _PHASE,
        _STAGE,
        _ROUND,
        _count("client", "index", "client within the fleet, from 0"),
        _count("plan", "index", "which of the stage's plans the client was given, from 0"),
        _count(
            "staleness", "step", "steps of the server between the model that the client was sent and the trip's end"
        ),
        _text("device", "device class"),
        _text("network", "network class"),
        _count("samples", "sample", "samples that the plan goes through, repeats included"),
        _count("batches", "batch", "optimizer steps"),
        _count("planned_batches", "batch", "optimizer steps of the whole work; more than `batches` in a partial trip"),
        _count("tokens", "token", "tokens of all batches, padding included"),
        _count("real_tokens", "token", "tokens of all batches without padding"),
        _count("download_bytes", "byte", "received by the device"),
        _count("upload_bytes", "byte", "sent by the device"),
        _count("repeated_upload_bytes", "byte", "part of `upload_bytes`: delivered a second time, and put aside"),
        _count("flops_forward", "FLOP", "spent in forward passes"),
        _count("flops_backward", "FLOP", "spent in backward passes"),
        *_SPLIT,
        _count("price_download_bytes", "byte", "to be received, were the trip to go to its end"),
        _count("price_upload_bytes", "byte", "to be sent, were the trip to go to its end"),
        _count("price_flops_forward", "FLOP", "forward passes, were the trip to go to its end"),
        _count("price_flops_backward", "FLOP", "backward passes, were the trip to go to its end"),
        _count("memory_bytes", "byte", "peak memory that the plan needs"),
        _number("start_s", "s", "simulated time at which the trip started"),
        _number("download_s", "s", "spent on the download, latency included"),
        _number("compute_s", "s", "spent on the device's own part of training"),
        _number("exchange_s", "s", "spent on messages across the cut of a split model, latency included"),
        _number("server_s", "s", "spent on waiting for the server's part of a split model"),
        _number("wait_s", "s", "spent on waiting for other clients between two steps"),
        _number("upload_s", "s", "spent on the upload, latency included"),
        _number("end_s", "s", "simulated time at which the trip ended or was cut off"),
        _number("energy_j", "J", "spent by the device, compute and radio"),
        _text("outcome", "`completed`, `late`, `dropped`, `out_of_memory`, `unused`, `failed` or `rejected`"),
        Column(
            "cause",
            "string",
            "",
            "the fault that the trip met, or why its update was refused; null: neither",
            True,
        ),
        Column("useful", "bool", "", "the update is part of the average"),
        _number("weight", "share", "share in the average; 0 when not part of it"),
        _number("loss", "nat", "mean training loss; null when nothing was trained (price mode, wasted trips)", True),
        _text("slots", "global layers that the local model is built from, bottom first; `7+8` is an average of two"),
    ),
)

ROUNDS = Table(
    "rounds",
    "One row for each round: sums over its trips.",
    (
        _METHOD,
        _PHASE,
        _STAGE,
        _ROUND,
        _number("start_s", "s", "simulated time at which the round started"),
        _number("end_s", "s", "simulated time at which the round closed"),
        _count("cohort", "trip", "clients picked"),
        *(
            _count(outcome, "trip", f"trips with outcome `{outcome}`")
            for outcome in ("completed", "late", "dropped", "out_of_memory", "unused", "failed", "rejected")
        ),
        _count("tokens", "token", "tokens of all batches of the cohort's plans, padding included"),
        _count("real_tokens", "token", "the same without padding"),
        _count("download_bytes", "byte", "received by the cohort"),
        _count("upload_bytes", "byte", "sent by the cohort"),
        _count("repeated_upload_bytes", "byte", "part of `upload_bytes`: delivered a second time, and put aside"),
        _count("flops_forward", "FLOP", "spent in forward passes"),
        _count("flops_backward", "FLOP", "spent in backward passes"),
        *_SPLIT,
        _number("device_seconds", "s", "time from a trip's start to its end, summed over the cohort"),
        _number("energy_j", "J", "spent by the cohort"),
        _count("wasted_download_bytes", "byte", "`download_bytes` of trips that are not useful"),
        _count("wasted_upload_bytes", "byte", "`upload_bytes` of trips that are not useful, and repeated ones"),
        _count("wasted_flops_forward", "FLOP", "`flops_forward` of trips that are not useful"),
        _count("wasted_flops_backward", "FLOP", "`flops_backward` of trips that are not useful"),
        *(_count(f"wasted_{c.name}", c.unit, f"`{c.name}` of trips that are not useful") for c in _SPLIT),
        _number("wasted_device_seconds", "s", "`device_seconds` of trips that are not useful"),
        _number("loss", "nat", "training loss, averaged with the trips' weights; null when nothing was trained", True),
        _text("trained_groups", "groups of the global model that the round changed"),
    ),
)

EVALS = Table(
    "evals",
    "One row for each metric of each evaluation, with what the method had spent by then.",
    (
        _METHOD,
        _PHASE,
        _count("round", "index", "last round before the evaluation; -1 for one before the first round"),
        _number("simulated_s", "s", "simulated time of the evaluation"),
        _text("metric", "name of the metric"),
        _number("value", "metric", "its value"),
        _count("samples", "sample", "held-out samples that it was measured on"),
        _count("upload_bytes", "byte", "sent by all devices so far, useful or wasted"),
        _count("download_bytes", "byte", "received by all devices so far, useful or wasted"),
        _count("flops", "FLOP", "forward and backward, spent by all devices so far, useful or wasted"),
    ),
)

STAGES = Table(
    "stages",
    "One row for each plan of each stage of a method: consecutive rounds that train the same part of the model.",
    (
        _METHOD,
        _PHASE,
        _STAGE,
        _count("plan", "index", "plan within the stage, from 0"),
        _count("first_round", "index", "the first of its rounds in which anybody took part, over the whole method"),
        _count("rounds", "round", "rounds planned for it"),
        _text("trained", "what it trains"),
        _count("depth", "layer", "layers of the local model"),
        _count("parameters_trained", "parameter", "trained on a device"),
        _count("parameters_sent", "parameter", "uploaded by a device"),
        _count("download_bytes_per_client", "byte", "download of a client that has nothing up to date"),
        _count("upload_bytes_per_client", "byte", "upload of a client"),
        _number("flops_share", "share", "FLOPs, relative to training the full model on the data of its first round"),
        _number("flops_layers_share", "share", "the same by the layers-only count: embeddings and head are free"),
        _count("memory_bytes", "byte", "highest peak memory on a device in its first round"),
    ),
    round="first_round",
)

LESSONS = Table(
    "lessons",
    "One row for each training on the server that is a method's own: of a student, or of its teacher on the task.",
    (
        _METHOD,
        _PHASE,
        _count("round", "index", "round that it came before; -1 where that is the first"),
        _text("lesson", "what was learned"),
        _text("device", "device class of the server"),
        _count("steps", "step", "optimizer steps"),
        _count("samples", "sample", "samples of all steps, repeats included"),
        _count("tokens", "token", "tokens of all steps, padding included"),
        _count("real_tokens", "token", "tokens of all steps without padding"),
        _count("flops_forward", "FLOP", "spent by the server in forward passes, a teacher's included"),
        _count("flops_backward", "FLOP", "spent by the server in backward passes"),
        _count("memory_bytes", "byte", "peak memory that it needs"),
        _number("start_s", "s", "simulated time at which it started"),
        _number("end_s", "s", "simulated time at which it ended"),
        _number("loss", "nat", "mean training loss; null in price mode", True),
    ),
)

EVENTS = Table(
    "events",
    "What a real clock measured, and what happened to the process that simulated. Differs from run to run.",
    (
        _number("wall_s", "s", "real time of the event, since 1970-01-01 UTC"),
        _text("kind", "what sort of event"),
        _METHOD,
        _count("round", "index", "round it belongs to; -1 for none"),
        _text("text", "details"),
        _number("seconds", "s", "real time that it took; null where that means nothing", True),
    ),
    hashed=False,
)

TABLES = {table.name: table for table in (TRIPS, ROUNDS, EVALS, STAGES, LESSONS, EVENTS)}


def markdown(table: Table) -> str:
    """A table's columns as a Markdown table."""
    lines = [f"| {c.name} | {c.type} | {c.unit} | {c.meaning} |" for c in table.columns]
    return "\n".join([table.meaning, "", "| column | type | unit | meaning |", "|---|---|---|---|", *lines])
