"""A method's books: rows of the trace, totals, checkpoints."""

import time
from collections.abc import Mapping, Sequence
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fedsim import saved_state
from fedsim.clock.trips import OUTCOMES, BoolArray, Outcome, Trips
from fedsim.cost.flops import flops, layers_only_units
from fedsim.cost.parameters import local_layouts, trained_size
from fedsim.cost.products import Flops
from fedsim.cost.split import on_client
from fedsim.data.work import Work
from fedsim.fleet.devices import FloatArray
from fedsim.model.architecture import Architecture, LocalShape
from fedsim.plan import full
from fedsim.plan_costs import PlanCosts
from fedsim.rounds import CENTRAL, Cohort, State, Trained, Turn
from fedsim.saved_state import LayoutsAfter
from fedsim.server.parameters import GlobalModel
from fedsim.store import checkpoint
from fedsim.store.checkpoint import CheckpointState
from fedsim.store.client_state import ClientStore
from fedsim.totals import Totals
from fedsim.trace.schema import ROUNDS
from fedsim.trace.writer import TraceWriter

_OUTCOMES = [outcome.value for outcome in OUTCOMES]
_SUMMED = {column.name for column in ROUNDS.columns}


class Account:
    """Writes down what a method does, in one folder."""

    def __init__(self, method: str, folder: Path) -> None:
        self.method = method
        self.totals = Totals()
        self.started = False
        self._checkpoints = folder / "checkpoints" / method
        self._clients = ClientStore(folder / "clients" / method)
        self._trace = TraceWriter(folder, method)
        self._saved_round = -1
        self._before: np.typing.NDArray[np.int32] | None = None
        self._superseded = 0

    @property
    def trace_sha256(self) -> str:
        """Hash over all sealed rounds."""
        return self._trace.digest

    def trips(self, turn: Turn, cohort: Cohort, trips: Trips, trained: Trained, changed: Sequence[str]) -> float | None:
        """Write a round's trips and their sums; returns the mean training loss."""
        prices = cohort.prices
        useful = trips.outcome == Outcome.completed.code
        weights = _weights(useful, trained)
        losses, known = _losses(cohort, trained)
        counted = known & (weights > 0)
        loss = fsum((weights * losses)[counted].tolist()) if counted.any() else None
        if trained.scale is not None and loss is not None:
            loss /= fsum(weights[counted].tolist())
        self._trace.add(
            "trips",
            {
                **self._where(turn),
                "client": cohort.clients,
                "plan": cohort.plan,
                "staleness": turn.round - cohort.started,
                "device": pa.DictionaryArray.from_arrays(cohort.devices.device, cohort.devices.devices),
                "network": pa.DictionaryArray.from_arrays(cohort.devices.network, cohort.devices.networks),
                "samples": cohort.work.samples,
                "batches": cohort.work.batches,
                "planned_batches": cohort.planned.batches,
                "tokens": cohort.work.tokens,
                "real_tokens": cohort.work.real_tokens,
                "download_bytes": trips.download_bytes,
                "upload_bytes": trips.upload_bytes,
                "repeated_upload_bytes": trips.repeated_upload_bytes,
                "flops_forward": trips.flops_forward,
                "flops_backward": trips.flops_backward,
                "cut_download_bytes": trips.cut_download_bytes,
                "cut_upload_bytes": trips.cut_upload_bytes,
                "server_flops_forward": trips.server_flops_forward,
                "server_flops_backward": trips.server_flops_backward,
                "price_download_bytes": prices.download_bytes,
                "price_upload_bytes": prices.upload_bytes,
                "price_flops_forward": prices.flops_forward,
                "price_flops_backward": prices.flops_backward,
                "memory_bytes": prices.memory_bytes,
                "start_s": trips.start_s,
                "download_s": trips.download_s,
                "compute_s": trips.compute_s,
                "exchange_s": trips.exchange_s,
                "server_s": trips.server_s,
                "wait_s": trips.wait_s,
                "upload_s": trips.upload_s,
                "end_s": trips.end_s,
                "energy_j": trips.energy_j,
                "outcome": pa.DictionaryArray.from_arrays(trips.outcome, _OUTCOMES),
                "cause": trips.cause,
                "useful": useful,
                "weight": weights,
                "loss": pa.array(losses, mask=~known),
                "slots": cohort.slots.texts(),
            },
        )
        sums = Totals.of(trips, useful, cohort.work)
        counts = {outcome.value: int((trips.outcome == outcome.code).sum()) for outcome in OUTCOMES}
        self._trace.add(
            "rounds",
            {
                **self._where(turn),
                "start_s": trips.opened_s,
                "end_s": trips.closed_s,
                "cohort": len(cohort.clients),
                **counts,
                **{name: value for name, value in sums.as_dict().items() if name in _SUMMED},
                "loss": loss,
                "trained_groups": " ".join(changed),
            },
        )
        self.totals += sums
        return loss

    def lesson(self, row: Mapping[str, Any]) -> None:
        """Write down a training on the server; its FLOPs are the server's own."""
        self._trace.add("lessons", row)
        self.totals += Totals(server_flops_forward=row["flops_forward"], server_flops_backward=row["flops_backward"])

    def stage(
        self, turn: Turn, cohort: Cohort, architecture: Architecture, costs: PlanCosts, model: GlobalModel
    ) -> None:
        """Write down what each plan of a stage trains and what it costs a device, for the first clients in it."""
        head, work, alone = turn.goal.head, cohort.work, CENTRAL in cohort.clients
        whole = LocalShape.of(architecture, turn.phase.head, full(architecture.layers))
        present, codec = model.architecture(architecture), turn.phase.wire.download
        for number, plan in enumerate(turn.stage.plans):
            shape = LocalShape.of(present, head, plan)
            cost, shape = costs.of(turn, plan, shape), on_client(shape, plan.split)
            kept = [layout for name, layout in model.layouts.items() if plan.keeps(name)]
            pool = kept if plan.full_pool and plan.split is None else local_layouts(shape)
            download = sum(codec.payload_bytes(layout) for layout in pool)
            if turn.phase.recipe.control:
                download += trained_size(shape).bytes
            if cost.split is not None and cost.split.relayed_bytes is not None:
                download = cost.split.relayed_bytes
            self._trace.add(
                "stages",
                {
                    "phase": turn.phase.name,
                    "stage": turn.stage_index,
                    "plan": number,
                    "first_round": turn.round,
                    "rounds": turn.stage.rounds,
                    "trained": turn.stage.label,
                    "depth": shape.depth,
                    "parameters_trained": trained_size(shape).parameters,
                    # a machine that has the data sends and receives nothing
                    "parameters_sent": 0 if alone else cost.upload_parameters,
                    "download_bytes_per_client": 0 if alone else download,
                    "upload_bytes_per_client": 0 if alone else cost.upload_bytes,
                    "flops_share": _total(cost.flops, work) / _total(flops(whole), work),
                    "flops_layers_share": layers_only_units(shape) / layers_only_units(whole),
                    "memory_bytes": int(cost.memory.at(work.largest_batch).max()),
                },
            )

    def evaluation(self, phase: str, round_: int, now_s: float, metrics: Mapping[str, float], samples: int) -> None:
        """Write metrics beside what the method has spent so far."""
        self._trace.add(
            "evals",
            {
                "phase": phase,
                "round": round_,
                "simulated_s": now_s,
                "metric": list(metrics),
                "value": np.array(list(metrics.values())),
                "samples": samples,
                "upload_bytes": self.totals.upload_bytes,
                "download_bytes": self.totals.download_bytes,
                "flops": self.totals.flops_forward + self.totals.flops_backward,
            },
        )

    def event(self, kind: str, round_: int, text: str, seconds: float | None) -> None:
        """Write down what a real clock saw; outside the hash."""
        row = {"wall_s": time.time(), "kind": kind, "round": round_, "text": text, "seconds": seconds}
        self._trace.add("events", row)

    def seal(self, round_: int) -> None:
        """Close a round's rows."""
        self._trace.seal(round_)
        self.started = True

    def checkpoint(self, state: State) -> None:
        """Flush the trace, then save the state that goes with it; nothing to do where that was done already."""
        if state.round == self._saved_round:
            return
        self._trace.flush()
        arrays, meta = saved_state.dump(state)
        meta |= {"totals": self.totals.as_dict(), "trace": self._trace.state()}
        checkpoint.save(self._checkpoints, CheckpointState(state.round, arrays, meta))
        self._tidy(state, int((state.kept >= 0).sum()))
        self._saved_round = state.round

    def _tidy(self, state: State, clients: int) -> None:
        """Remove what clients have left and no checkpoint counts on; not more often than a tenth of it is such."""
        before, self._before = self._before, state.kept.copy() if clients else None
        if before is None:
            return
        fresh = int(((state.kept != before) & (before >= 0)).sum())
        self._superseded += fresh
        if 10 * self._superseded >= clients:
            self._clients.prune(before, state.round - 1)
            self._superseded = fresh

    def restore(self, state: State, layouts_after: LayoutsAfter) -> tuple[str, ...]:
        """Go back to the newest checkpoint, or to the start where there is none; returns notes for the user.

        Args:
            state: changed in place.
            layouts_after: of the method.
        """
        stored = checkpoint.load_latest(self._checkpoints)
        notes = self._trace.restore(None if stored is None else stored.meta["trace"])
        if stored is None:
            return notes
        saved_state.load(state, stored, layouts_after)
        self.totals, self.started = Totals(**stored.meta["totals"]), True
        self._saved_round, self._before = stored.round, state.kept.copy()
        return (*stored.notes, *notes)

    def _where(self, turn: Turn) -> dict[str, Any]:
        return {"phase": turn.phase.name, "stage": turn.stage_index, "round": turn.round}


def _total(flops: Flops, work: Work) -> int:
    return int((flops.forward.total(work) + flops.backward.total(work)).sum())


def _weights(useful: BoolArray, trained: Trained) -> FloatArray:
    """Shares in the average; where somebody's update was refused, those of the others add up to one again.

    A stale update counts less than its share, and the model as it is so much more.
    """
    own = np.where(useful, trained.shares, 0.0)
    if useful.any() and any(report.status != "completed" for report in trained.reports.values()):
        own = own / fsum(own.tolist())
    return own if trained.scale is None else own * trained.scale


def _losses(cohort: Cohort, trained: Trained) -> tuple[FloatArray, BoolArray]:
    """Mean training losses, and whether there is one, [cohort] each."""
    losses, known = np.zeros(len(cohort.clients)), np.zeros(len(cohort.clients), np.bool_)
    for member, client in enumerate(cohort.clients.tolist() if trained.reports else ()):
        report = trained.reports.get(client)
        if report is not None and report.loss is not None:
            losses[member], known[member] = report.loss, True
    return losses, known
