"""What cannot be meant of devices, their presence and policies: one message, exit code 2, and nothing is left."""

from pathlib import Path

import pytest

from tests.command import Desk

FLEET = "fleet: {clients: 8}"
PART = "participation: {clients_per_round: 4, over_selection: 1.25}"
COLUMNS = "flops_per_s,memory_bytes,downlink_bits_per_s,uplink_bits_per_s,latency_s,compute_power_w,radio_power_w"
ROWS = ["1e9,1000000000,1e6,1e6,0.1,1,1"] * 8
THERE = "fleet: {clients: 8, availability: {kind: intervals, path: there.csv, period_s: 100}}"
BOTH = (
    "fleet: {clients: 8, availability: {kind: all_of, conditions: {"
    "one: {kind: intervals, path: there.csv, period_s: 100}, two: {kind: intervals, path: then.csv, period_s: 100}}}}"
)
SOURCE = "fleet: {clients: 8, source: {kind: file, path: fleet.csv}}"


def part(rest: str) -> tuple[str, str]:
    return PART, f"participation: {{clients_per_round: 4, {rest}}}"


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        (0, "0", "fleet.csv:9: flops_per_s: row 8 is 0"),
        (0, "-1e9", "fleet.csv:9: flops_per_s: row 8 is -1e+09"),
        (0, "", "fleet.csv:9: flops_per_s: row 8 has no value"),
        (0, "inf", "fleet.csv:9: flops_per_s: row 8 is inf"),
        (1, "0", "fleet.csv:9: memory_bytes: row 8 is 0"),
        (2, "0", "fleet.csv:9: downlink_bits_per_s: row 8 is 0"),
        (3, "nan", "fleet.csv:9: uplink_bits_per_s: row 8 is nan"),
        (4, "-0.1", "fleet.csv:9: latency_s: row 8 is -0.1"),
    ],
)
def test_impossible_devices(column: int, value: str, says: str, work: Desk) -> None:
    cells = ROWS[0].split(",")
    cells[column] = value
    (work.folder / "fleet.csv").write_text("\n".join([COLUMNS, *ROWS[:7], ",".join(cells)]) + "\n")
    refused(work, says, (FLEET, SOURCE))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["0,0,10", "1,0,10", "0,5,20"], "there.csv:4: client 0: row 3 is from 5 to 20 s"),
        (["0,0,10", "1,20,10"], "there.csv:3: "),
        (["0,0,10", "1,20,200"], "there.csv:3: "),
        (["0,0,10", "1,nan,30"], "there.csv:3: start_s"),
        (["0,-5,10"], "there.csv:2: start_s"),
        (["0,0,"], "there.csv:2: end_s"),
    ],
)
def test_impossible_intervals(lines: list[str], says: str, work: Desk) -> None:
    (work.folder / "there.csv").write_text("\n".join(["client,start_s,end_s", *lines]) + "\n")
    refused(work, says, (FLEET, THERE))


def test_more_in_a_cohort_than_are_ever_there(work: Desk) -> None:
    own = [f"{i},0,10" for i in range(8)]
    for name, rows in (("there", own), ("then", [f"{i},{5 if i < 3 else 20},30" for i in range(8)])):
        (work.folder / f"{name}.csv").write_text("\n".join(["client,start_s,end_s", *rows]) + "\n")
    says = "participation.clients_per_round: is 4, but fleet.availability never lets more than 3 devices take part"
    refused(work, says, (FLEET, BOTH))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((FLEET, "fleet: {clients: 8, dropout: {devices: {phone_lo: 1}}}"), "fleet.dropout.devices.phone_lo: "),
        ((FLEET, "fleet: {clients: 8, dropout: {per_s: -1}}"), "fleet.dropout.per_s: must be at least 0"),
        ((FLEET, "fleet: {clients: 8, server_link: {}}"), "fleet.server_link: give at least one of"),
        ((FLEET, "fleet: {clients: 8, latency_sigma: -1}"), "fleet.latency_sigma: must be at least 0"),
        ((FLEET, "fleet: {clients: 8, pace: {backward_speed: 0}}"), "fleet.pace.backward_speed: must be more than 0"),
        (part("policy: {kind: buffered}"), "policy.concurrency: is required"),
        (part("policy: {kind: buffered, concurrency: 9}"), "policy.concurrency: asks for 9 clients at a time"),
        (part("policy: {kind: buffered, concurrency: 3}"), "policy.concurrency: is 3, less than clients_per_round"),
        (part("policy: {kind: tiered, tiers: 3}"), "policy.tiers: asks for 12 clients at a time"),
        (part("policy: {kind: asynchronous, concurrency: 4}"), "clients_per_round: is 4; with policy: asynchronous"),
        (part("deadline_s: 5, policy: {kind: buffered, concurrency: 4}"), "deadline_s: goes with policy: synchronous"),
        (part("quorum: 2, policy: {kind: buffered, concurrency: 4}"), "quorum: goes with policy: synchronous"),
        (part("over_selection: 1.5, policy: {kind: buffered, concurrency: 4}"), "over_selection: goes with policy"),
        (part("policy: {kind: fedbuff, concurrency: 4}"), "policy.kind: "),
        (part("policy: {kind: buffered, concurrency: 4, staleness_exponent: -1}"), "staleness_exponent: must be at"),
        (part("quorum: 5"), "quorum: is 5, more than clients_per_round (4)"),
        (part("deadline_s: 5, deadline_quantile: 0.5"), "deadline_quantile: give either deadline_s or"),
        (part("deadline_s: 0"), "deadline_s: must be more than 0"),
        (part("max_empty_rounds: 0"), "max_empty_rounds: must be at least 1"),
        (part("selection: {kind: power_of_choice, candidates: 3}"), "selection.candidates: is 3, the cohort is 4"),
        (
            part("selection: {kind: power_of_choice, candidates: 5}, policy: {kind: buffered, concurrency: 6}"),
            "selection.candidates: is 5, policy.concurrency is 6: draw at least as many",
        ),
        (part("selection: {kind: in_turns}"), "selection.kind: "),
        (
            (PART, "participation: {clients_per_round: 2, selection: {kind: in_turn}, policy: {kind: tiered}}"),
            "selection: is in_turn, which goes round all clients",
        ),
    ],
)
def test_what_does_not_go_together(change: tuple[str, str], says: str, work: Desk) -> None:
    refused(work, says, change)


@pytest.mark.parametrize("kind", ["{kind: oort}", "{kind: power_of_choice, candidates: 6}"])
def test_losses_have_no_price(kind: str, work: Desk) -> None:
    refused(work, "further_pretrain.participation.selection: is ", part(f"selection: {kind}"), options=("--price",))


def refused(work: Desk, says: str, *changes: tuple[str, str], options: tuple[str, ...] = ()) -> None:
    work.write(*changes)
    before = set(work.folder.rglob("*"))
    ended = work.run("scenario", "mine.yaml", *options)
    assert ended.code == 2, ended.err
    assert ended.err.count(says) == 1, ended.err
    assert "Traceback" not in ended.err
    assert not ended.out
    assert {path for path in set(work.folder.rglob("*")) - before if path.is_file()} == set[Path]()
