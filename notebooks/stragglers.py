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
# # Who straggles, and what deadlines cost
#
# A round is as long as its slowest client, unless the server stops waiting. Then somebody's work is thrown away, and it is
# always the same somebody's. This notebook plays one method (FedBT, BERT-base) on 2,000 phones under different rules, in
# price mode: the clock is exact and nothing is trained.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import pandas as pd

import fedsim
from fedsim.report import figures
from fedsim.report.style import blank, dress, styles

pd.options.display.float_format = "{:,.2f}".format
WORLD = {
    "data.corpus.samples_per_client": {"median": 64, "sigma": 0.6, "most": 400},
    "fleet.clients": 2_000,
    "fleet.source.networks": {"wifi": 0.6, "4g": 0.3, "3g": 0.1},
    "phases.further_pretrain.rounds": 40,
}
PART = "phases.further_pretrain.participation."
RULES = {
    "wait for all": {},
    "deadline at p90": {"deadline_quantile": 0.9},
    "deadline at p75": {"deadline_quantile": 0.75},
    "deadline at p50": {"deadline_quantile": 0.5},
    "ask 30 % more": {"over_selection": 1.3},
    "p75, partial work": {"deadline_quantile": 0.75, "late": "partial"},
}
runs = {}
with tempfile.TemporaryDirectory() as scratch:
    for name, rule in RULES.items():
        settings = WORLD | {f"{PART}{key}": value for key, value in ({"clients_per_round": 50} | rule).items()}
        run = fedsim.simulate("million", settings, methods=["fedbt"], out=Path(scratch, name), price=True)
        _ = run.trips, run.rounds  # read before the folder goes away
        runs[name] = run
f"{len(runs)} rules, {sum(len(run.trips) for run in runs.values()):,} trips of stragglers and others"

# %% [markdown]
# ## Who straggles
#
# Waiting for everybody: how long trips take (box: half of the trips), and where the time goes, by class of device and of
# network. Nobody is late under this rule.

# %%
figures.straggler_figure(runs["wait for all"])

# %% [markdown]
# Slow devices straggle while they compute, slow networks while they transfer. Who came last in the rounds, next to how
# many there are:

# %%
trips = runs["wait for all"].trips.astype({"device": str, "network": str})
last = trips.loc[trips.groupby("round").end_s.idxmax()]
pd.DataFrame(
    {
        "trips, %": 100 * trips.groupby(["network", "device"]).size() / len(trips),
        "came last, %": 100 * last.groupby(["network", "device"]).size() / len(last),
    }
).fillna(0.0).sort_values("came last, %", ascending=False)

# %% [markdown]
# ## What a deadline costs
#
# `deadline_quantile: 0.75` closes a round when three quarters of the cohort are expected back. *Wasted* is device time
# spent on updates that nobody used; a *sample used* is one whose client's update counted.

# %%
used = {"completed"}
rows = {}
for name, run in runs.items():
    own, rounds = run.trips, run.rounds
    counted = own[own.outcome.isin(used)]
    rows[name] = {
        "hours for 40 rounds": rounds.end_s.max() / 3600,
        "updates used": len(counted),
        "samples used": counted.samples.sum(),
        "updates an hour": len(counted) / (rounds.end_s.max() / 3600),
        "wasted device time, %": 100 * rounds.wasted_device_seconds.sum() / rounds.device_seconds.sum(),
        "wasted bytes, %": 100 * rounds.wasted_upload_bytes.add(rounds.wasted_download_bytes).sum()
        / rounds.upload_bytes.add(rounds.download_bytes).sum(),
    }
table = pd.DataFrame(rows).T
table

# %%
figure = blank(9.6, 3.2)
left, right = figure.subplots(1, 2)
for name, style in styles(table.index).items():
    row = table.loc[name]
    left.plot(row["hours for 40 rounds"], row["updates used"], **{**style, "markersize": 9, "linestyle": ""})
    right.plot(row["updates an hour"], row["wasted device time, %"], **{**style, "markersize": 9, "linestyle": ""})
for axes in (left, right):
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
left.legend(frameon=False, fontsize=8)
dress(left, "hours for 40 rounds", "updates used")
dress(right, "updates an hour", "wasted device time, %")
figure

# %% [markdown]
# ## Whose updates are missing
#
# A deadline does not cut off anybody: it cuts off the slow. The share of the samples that count, by class, divided by the
# share that the class has: 1 is fair, 0 is never heard.

# %%
heard = {}
for by in ("network", "device"):
    for name, run in runs.items():
        own = run.trips.astype({by: str})
        owned = own.groupby(by).planned_batches.sum() / own.planned_batches.sum()
        counted = own[own.outcome.isin(used)].groupby(by).batches.sum().reindex(owned.index, fill_value=0)
        heard[by, name] = counted / counted.sum() / owned
fair = pd.DataFrame({name: pd.concat([heard["network", name], heard["device", name]]) for name in runs})
fair

# %%
figure = blank(9.6, 3.0)
axes = figure.subplots()
chosen = ["wait for all", "deadline at p90", "deadline at p50", "ask 30 % more", "p75, partial work"]
for i, (name, style) in enumerate(styles(chosen).items()):
    axes.bar([place + 0.16 * (i - 2) for place in range(len(fair))], fair[name], width=0.15, color=style["color"], label=name)
axes.axhline(1, color="#444444", linestyle=":", linewidth=1)
axes.set_xticks(range(len(fair)), list(fair.index))
axes.legend(frameon=False, fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.16))
dress(axes, "", "heard, as a share of what is fair", grid="y")
figure

# %% [markdown]
# ## What follows
#
# The cell below fails if one of these is not so.
#
# - Waiting for everybody wastes nothing and takes longest.
# - The earlier the deadline, the more updates an hour, the more is wasted, and the less the slow are heard.
# - Asking more than are needed is a deadline under another name: it gives the most updates an hour, wastes as much as a
#   deadline that takes as long, and silences the same clients.
# - Partial work takes the time of a deadline and wastes less than half as much. Slow *devices* are heard with a part of
#   what they have; slow *networks* are not, since a download alone takes them longer than the deadline.

# %%
deadlines = table.loc[["wait for all", "deadline at p90", "deadline at p75", "deadline at p50"]]
assert deadlines["hours for 40 rounds"].is_monotonic_decreasing
assert deadlines["updates an hour"].is_monotonic_increasing
assert deadlines["wasted device time, %"].is_monotonic_increasing
assert table.loc["wait for all", "wasted device time, %"] == 0
assert fair.loc["3g", ["wait for all", "deadline at p90", "deadline at p50"]].is_monotonic_decreasing
assert table.loc["ask 30 % more", "wasted device time, %"] > 0
assert fair.loc["3g", "ask 30 % more"] < fair.loc["3g", "wait for all"]
assert table.loc["p75, partial work", "wasted device time, %"] < table.loc["deadline at p75", "wasted device time, %"] / 2
assert table["updates an hour"].idxmax() == "ask 30 % more"
assert fair.loc["phone_low", "p75, partial work"] > fair.loc["phone_low", "deadline at p75"]
assert fair.loc["3g", "p75, partial work"] < 0.05
saved = 1 - table.loc["deadline at p75", "hours for 40 rounds"] / table.loc["wait for all", "hours for 40 rounds"]
lost = table.loc["deadline at p75", "wasted device time, %"]
f"a deadline at p75 saves {saved:.0%} of the time and wastes {lost:.0f} % of the devices' work"
