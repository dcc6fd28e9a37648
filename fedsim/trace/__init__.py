"""The trace of a run: Parquet tables, written round by round and read as pandas frames."""

from fedsim.trace.reader import Run, read_run
from fedsim.trace.schema import SCHEMA_VERSION, TABLES, parse_slots, slots_text
from fedsim.trace.writer import TraceWriter

__all__ = ["SCHEMA_VERSION", "TABLES", "Run", "TraceWriter", "parse_slots", "read_run", "slots_text"]
