"""A scenario from start to end: build the world, run every method in it, say what each cost and reached."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedsim import plan_costs, run_folder
from fedsim.account import Account
from fedsim.cohorts import Cohorts
from fedsim.cost.carbon import carbon_g
from fedsim.data.shards import describe
from fedsim.dispatch import Dispatch
from fedsim.engine.base import Engine
from fedsim.errors import UserError, choose
from fedsim.evaluation import Evaluator
from fedsim.interrupt import stoppable
from fedsim.method_run import MethodRun
from fedsim.model.adapters import initial_adapters, merged
from fedsim.model.layout import FloatArray, Groups
from fedsim.model.pretrained import write
from fedsim.observe.observer import Observer
from fedsim.phases import Prepared, prepare
from fedsim.plan import HEAD, Slot, exit_head, layer
from fedsim.recruiting import learns
from fedsim.rounds import State
from fedsim.scenario.base import dotted
from fedsim.scenario.data import DeclaredCorpus
from fedsim.scenario.identity import fingerprint
from fedsim.scenario.schema import Scenario
from fedsim.server.parameters import GlobalModel, Pools
from fedsim.store import atomic
from fedsim.teaching import Teaching
from fedsim.trackers import feed as trackers
from fedsim.world import World, build, check


@dataclass(frozen=True)
class Request:
    """What to run and where."""

    scenario: Scenario
    base: Path
    """Folder that the scenario's paths are relative to."""
    folder: Path
    """The run's own folder."""
    methods: tuple[str, ...] = ()
    """Methods to run; empty: all."""
    price: bool = False
    """The same loop without training: prices, clock and trace only."""
    resume: bool = False


def simulate(request: Request, start_engine: Callable[[], Engine] | None, observer: Observer) -> dict[str, Any]:
    """Run a scenario; returns the summary that is also written to run.json.

    Args:
        request: what to run and where.
        start_engine: makes the engine; it is called first, so that hosts warm up meanwhile. None in price mode.
        observer: told about progress.

    Raises:
        UserError: the scenario and the data do not fit together, or the folder is taken.
        FedsimError: something failed on the way.
        KeyboardInterrupt: stopped by the user; the last finished round is on disk.
    """
    scenario = request.scenario
    if start_engine is None and not request.price:
        raise ValueError("training needs an engine")
    if isinstance(scenario.data.corpus, DeclaredCorpus) and not request.price:
        raise UserError("declared data has no text to train on: add --price", key="data.corpus")
    trackers.check(scenario.outputs.trackers)
    names = _chosen(scenario, request.methods)
    for name in names:
        if request.price and (reason := scenario.methods[name].unpriced()):
            raise UserError(reason, key=f"methods.{name}")
    for phase in scenario.phases.federated:
        if request.price and learns(how := phase.config.participation.selection):
            raise UserError(
                f"is {how.kind}, which looks at losses that clients report, and without training there are none: take "
                "uniform, samples or in_turn, or train",
                key=f"{dotted(phase.key)}.participation.selection",
            )
    with stoppable(), run_folder.claimed(request.folder, request.resume):
        if not request.resume:
            origin = run_folder.Origin(scenario, request.base, request.price, request.methods)
            run_folder.describe(request.folder, origin)
        elif (request.folder / run_folder.SUMMARY).is_file():
            summary = run_folder.summary(request.folder)
            if not run_folder.unfinished(request.folder, summary):
                observer.note("nothing left to do: every method has ended")
                return summary
        if request.resume:
            for note in atomic.remove_stray(request.folder):
                observer.note(note)
        check(scenario, request.base)
        engine = None if start_engine is None else start_engine()
        try:
            with trackers.tracked(scenario, request.folder, observer) as watched:
                return _run(request, names, engine, watched)
        finally:
            if engine is not None:
                engine.close()


def _run(request: Request, names: Sequence[str], engine: Engine | None, observer: Observer) -> dict[str, Any]:
    scenario, folder = request.scenario, request.folder
    with observer.task("preparing the data", None):
        world = build(scenario, request.base, folder, observer)
    run_folder.check_world(folder, world)
    prepared = [prepare(world, name) for name in names]
    lessons = {item.name: Teaching(item, world, engine, observer) for item in prepared}
    observer.note(f"run folder: {folder}")
    costs = plan_costs.measure(prepared, engine, observer)
    plan_costs.check_sizes(prepared, costs, world.fleet)
    evaluate = scenario.phases.evaluate
    evaluator = Evaluator(world, evaluate, engine) if engine is not None and evaluate is not None else None
    if evaluator is not None:
        evaluator.check(phase for item in prepared for phase in item.phases)
    summary: dict[str, Any] = {
        "run": str(folder),
        "fingerprint": fingerprint(scenario),
        "price": request.price,
        "methods": {},
    }
    for item in prepared:
        account = Account(item.name, folder)
        state = _initial_state(world, item)
        for note in account.restore(state, item.layouts_after) if request.resume else ():
            observer.note(note)
        teaching = lessons[item.name]
        if engine is not None and state.round == 0:
            groups = teaching.start()
            # further heads start as the one on top does
            state.model.groups = {**groups, **{exit_head(depth): groups[HEAD] for depth in item.exits}}
            state.model.groups |= initial_adapters(item.architecture, item.adapters, scenario.seed)
        try:
            dispatch = Dispatch(item, world, engine, account, folder, observer)
            MethodRun(item, Cohorts(item, world, costs), dispatch, teaching, evaluator, account, state, observer).run()
        except KeyboardInterrupt:
            if account.started:  # with nothing written yet, going on is starting anew
                account.checkpoint(state)
            observer.note(f"{item.name}: {state.round} rounds are saved")
            raise
        if engine is not None and scenario.outputs.save_models:
            _save_model(world, item, state, folder)
        summary["methods"][item.name] = _method_summary(account, state, scenario.fleet.carbon_g_per_kwh)
        atomic.write_json(folder / run_folder.SUMMARY, summary)
    _save_partition(world, folder)
    return summary


def _chosen(scenario: Scenario, wanted: Sequence[str]) -> list[str]:
    for name in wanted:
        if name not in scenario.methods:
            raise UserError(f"no method '{name}' in this scenario; {choose(name, scenario.methods)}", key="--method")
    return [name for name in scenario.methods if not wanted or name in wanted]


def resumed(folder: Path) -> Request:
    """The request that a run folder was made from, to go on with.

    Raises:
        UserError: not a run folder, or made by other versions of what results depend on.
    """
    origin = run_folder.origin(folder)
    return Request(origin.scenario, origin.base, folder, origin.methods, origin.price, resume=True)


def _initial_state(world: World, item: Prepared) -> State:
    clients = world.scenario.fleet.clients
    model = GlobalModel(item.layouts_after(0), {})
    return State(model, Pools(clients, len(model.layouts)), np.full(clients + 1, -1, np.int32))


def _save_model(world: World, item: Prepared, state: State, folder: Path) -> None:
    """The final global model (and the tokenizer, where the data has one) as `transformers` saves them."""
    last = item.goal_after(state.round)
    labels: tuple[str, ...] = ()
    if world.tokens is not None:
        names: Mapping[str, tuple[str, ...]] = {**world.tokens.label_names, **world.tokens.tag_names}
        labels = names.get(last.objective.label, ())
    with atomic.replacing(folder / "models" / item.name) as temporary:
        whole = merged(item.architecture, item.adapters, state.model.groups)
        groups = {**whole, **{layer(i): _slot(whole, s) for i, s in enumerate(last.slots)}}
        sizes = replace(state.model.architecture(item.architecture).local(last.slots), layers=len(last.slots))
        write(temporary, sizes, last.head, groups, labels)
        if world.files is not None and (world.files.tokens / "tokenizer").is_dir():
            shutil.copytree(world.files.tokens / "tokenizer", temporary, dirs_exist_ok=True)


def _slot(groups: Groups, slot: Slot) -> FloatArray:
    layers = [groups[layer(i)] for i in (slot if isinstance(slot, tuple) else (slot,))]
    return np.mean(layers, axis=0, dtype=np.float32) if len(layers) > 1 else layers[0]


def _save_partition(world: World, folder: Path) -> None:
    """A table of how unequal the clients' data is: sizes, and labels where every sample has one."""
    if world.shards is None or world.tokens is None:
        return
    labels = {name: codes for name, codes in world.tokens.labels.items() if (codes[world.shards.indices] >= 0).all()}
    describe(world.shards, labels).round(4).to_csv(folder / "partition.csv", index_label="measure")


def _method_summary(account: Account, state: State, carbon_g_per_kwh: float | None) -> dict[str, Any]:
    totals = account.totals.as_dict()
    completed = totals.pop("trips_completed")
    wasted = {name: value for name, value in totals.items() if name.startswith("wasted_")}
    return {
        "quality": state.quality,
        **{name: value for name, value in totals.items() if name not in wasted},
        **({} if carbon_g_per_kwh is None else {"carbon_g": carbon_g(totals["energy_j"], carbon_g_per_kwh)}),
        "simulated_seconds": state.now_s,
        "wasted_bytes": wasted["wasted_download_bytes"] + wasted["wasted_upload_bytes"],
        "wasted_flops": wasted["wasted_flops_forward"] + wasted["wasted_flops_backward"],
        **wasted,
        "rounds": state.round,
        "clients_trained": completed,
        "weights_sha256": state.model.sha256(),
        "trace_sha256": account.trace_sha256,
    }
