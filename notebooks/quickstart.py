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
# # Reading a run
#
# A run's folder holds a trace: Parquet tables of every trip of every client. `fedsim.read_run` opens them as pandas
# frames; [docs/trace.md](../docs/trace.md) lists their columns. This notebook goes through the questions that one
# usually has: what a method reached and what that cost, who straggles and why, what was wasted, and what fits into a
# device's memory.
#
# Name a run below, or in the environment variable `FEDSIM_RUN`. With neither, the `smoke` scenario is run here, which
# takes seconds and learns next to nothing.

# %%
RUN = None  # a run's folder, such as "runs/quickstart-1"

# %%
# %matplotlib inline
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

import fedsim
from fedsim.fleet import catalog
from fedsim.report import figures, frames

with tempfile.TemporaryDirectory() as scratch:
    folder = RUN or os.environ.get("FEDSIM_RUN")
    if folder is None:
        folder = Path(scratch, "smoke")
        command = [sys.executable, "-m", "fedsim", "scenario", "smoke", "--engine", "inline", "--out", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    run = fedsim.read_run(folder)
    # tables are read when they are asked for: here, before the folder of a short run goes away
    lengths = {name: len(getattr(run, name)) for name in ("trips", "rounds", "evals", "stages")}

pd.options.display.float_format = "{:,.3f}".format
run.scenario["name"], run.methods, lengths

# %% [markdown]
# ## What each method reached and spent
#
# Totals over all rounds and phases, useful and wasted work together. MB is 10⁶ bytes; a FLOP is one addition or
# multiplication of a matrix product; device time is summed over devices, simulated time is what a clock on the wall
# would show. The last evaluation counts.

# %%
sums = run.rounds.groupby("method", sort=False).sum(numeric_only=True)
totals = pd.DataFrame(
    {
        "sent, MB": sums.upload_bytes / 1e6,
        "received, MB": sums.download_bytes / 1e6,
        "GFLOP forward": sums.flops_forward / 1e9,
        "GFLOP backward": sums.flops_backward / 1e9,
        "device time, min": sums.device_seconds / 60,
        "energy, kJ": sums.energy_j / 1e3,
        "simulated time, min": run.rounds.groupby("method", sort=False).end_s.max() / 60,
    }
)
last = run.evals.groupby(["method", "phase", "metric"], sort=False).value.last().unstack([1, 2])
last.columns = [" ".join(names) for names in last.columns]
pd.concat([last, totals], axis=1).T

# %% [markdown]
# The same seed and scenario give the same hash, on any number of hosts and after any number of interruptions.

# %%
pd.Series({name: method["trace_sha256"][:16] for name, method in run.summary["methods"].items()}, name="trace").to_frame()

# %% [markdown]
# ## Quality against cost
#
# Every point is one evaluation on held-out text. Costs add up over the phases, so fine-tuning starts where further
# pre-training ended. The dotted lines need no model at all: the frequencies of words, and the most frequent class.

# %%
figures.quality_figure(run)

# %% [markdown]
# What had each method spent when it first was as good as the weakest method became? Nothing is interpolated; evaluate
# more often for a finer answer.

# %%
pd.concat({" ".join(pair): frames.to_reach(run, *pair) for pair in frames.headline(run)}).assign(
    upload=lambda table: table.upload / 1e6,
    traffic=lambda table: table.traffic / 1e6,
    flops=lambda table: table.flops / 1e9,
    time=lambda table: table.time / 60,
).rename(columns={"upload": "sent, MB", "traffic": "sent and received, MB", "flops": "GFLOP", "time": "simulated min"})

# %% [markdown]
# ## Who straggles, and why
#
# A trip is a download, then training, then an upload. Left: its length (box: half of the trips; whiskers: 5 to 95 %).
# Middle: where the time goes. Right: the share of trips that were still away when the round closed. A late trip is cut
# off then, so for classes that are often late the times are lower bounds.

# %%
figures.straggler_figure(run)

# %%
frames.trip_times(run, "network").unstack("method")[["trips", "late", "median_s"]]

# %% [markdown]
# ## Bytes each way, by round
#
# Everything that is trained is sent. A device downloads what has changed since it last took part, so a first trip pays
# for the whole model, and a method that changes little makes later downloads small.

# %%
figures.traffic_figure(run)

# %% [markdown]
# What the methods train and send, with the computation as a share of training the full model: everything
# (`flops_share`), and layers alone (`flops_layers_share`).

# %%
shares = dict.fromkeys(["depth", "parameters_sent", "flops_share", "flops_layers_share"], "first")
run.stages.groupby(["method", "phase", "trained"], sort=False).agg({"rounds": "sum", **shares})

# %% [markdown]
# ## What was wasted
#
# Work on updates that nobody used: late trips, and clients that failed. It is part of the totals above.

# %%
figures.waste_figure(run)

# %%
run.trips.groupby(["method", "outcome"], observed=True).size().unstack(fill_value=0)

# %% [markdown]
# ## Memory against devices
#
# The most demanding trip of each phase, beside what each device class of the run can give to training. A device with
# too little memory does not take part: its trip is `out_of_memory`.

# %%
limits = {name: catalog.devices()[name].memory_bytes for name in run.trips.device.unique() if name in catalog.devices()}
figures.memory_figure(run, limits)
