# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Methods compared
#
# Every method in one world: the same clients, text, rounds and first weights; what differs is which part of the model
# a client trains, and what it sends. This notebook reads a run of `scenarios/methods_compared.yaml`;
# [docs/methods_compared.md](../docs/methods_compared.md) has the same with three seeds and two partitions.
#
# Name a run below, or in the environment variable `FEDSIM_RUN`. With neither, three of the methods are run here for a
# few rounds, which takes seconds and learns next to nothing.

# %%
RUN = None  # a run's folder, such as "runs/methods_compared-1"

# %%
# %matplotlib inline
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

import fedsim
from fedsim.report import figures, frames
from fedsim.report.tradeoff import tradeoff_figure

SHORT = ["data.corpus.libraries=[networkx]", "fleet.clients=12", "phases.pretrain={steps: 5}"]
SHORT += ["phases.finetune.rounds=4", "phases.finetune.participation.clients_per_round=5", "methods.head_pruning.after_rounds=2"]
SHORT += ["phases.finetune.task.label=kind", "outputs.figures=false"]
with tempfile.TemporaryDirectory() as scratch:
    folder = RUN or os.environ.get("FEDSIM_RUN")
    if folder is None:
        folder = Path(scratch, "short")
        command = [sys.executable, "-m", "fedsim", "scenario", "methods_compared", "--engine", "inline"]
        for setting in SHORT:
            command += ["--set", setting]
        for method in ("fedavg", "fedbt", "fedsplitbert"):
            command += ["--method", method]
        subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
    run = fedsim.read_run(folder)
    # tables are read when they are asked for: here, before the folder of a short run goes away
    lengths = {name: len(getattr(run, name)) for name in ("trips", "rounds", "evals", "stages")}

pd.options.display.float_format = "{:,.3f}".format
pd.options.display.max_rows = 200
run.scenario["name"], len(run.methods), lengths

# %% [markdown]
# ## What each method reached and spent
#
# Best first. Traffic counts both ways, FLOPs forward and backward on devices; simulated time is what a clock on the wall
# would show. `share` is what a method spent of what the first one did. A single seed says little about methods that
# are close to each other.

# %%
phase, metric = frames.headline(run)[-1]
table = frames.final(run, phase, metric)
first = table.loc[run.methods[0]]
pd.DataFrame(
    {
        metric: table.value,
        "traffic, MB": table.traffic / 1e6,
        "traffic, share": table.traffic / first.traffic,
        "GFLOP": table.flops / 1e9,
        "FLOPs, share": table.flops / first.flops,
        "simulated min": table.time / 60,
    }
).sort_values(metric, ascending=metric.endswith("loss"))

# %% [markdown]
# The grey line joins the methods that no other one beats in quality and cost at once. Training in one place sends
# nothing; it has all clients' samples instead.

# %%
tradeoff_figure(run)

# %% [markdown]
# ## Along the way

# %%
figures.quality_figure(run)

# %% [markdown]
# ## Who trains what
#
# One row for each kind of stage: how deep the local model is, what is trained and sent, and the share of the full
# model's computation.

# %%
columns = {"depth": "max", "parameters_sent": "max", "flops_share": "mean", "memory_bytes": "max"}
stages = run.stages.groupby(["method", "trained"], sort=False, observed=True).agg({"rounds": "sum", **columns})
stages.assign(memory_MB=stages.pop("memory_bytes") / 1e6)

# %% [markdown]
# ## The models of single clients
#
# Where layers stay on the clients, every client has a model of its own. It is tested on samples that the client held
# back, and so is the global model of every other method.

# %%
personal = run.evals[run.evals.metric.astype(str).str.startswith("personal")]
personal.groupby(["method", "metric"], sort=False, observed=True).value.last().unstack()
