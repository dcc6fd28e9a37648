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
# # A million devices
#
# BERT-base, a million registered phones, a thousand of them asked in each round: what would that cost? Price mode plays
# the rounds with their cohorts, clock and bytes, and trains nothing, so a laptop does it in seconds.
# [docs/large_fleets.md](../docs/large_fleets.md) has 2,000 rounds and ten million trips; here it is 100 rounds.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import pandas as pd

import fedsim
from fedsim.report.style import blank, dress, styles

pd.options.display.float_format = "{:,.2f}".format
ROUNDS = 100


def play(method, clients=1_000_000, rounds=ROUNDS):
    """The scenario `million` in price mode; returns its trips and rounds."""
    settings = {
        "fleet.clients": clients,
        "phases.further_pretrain.rounds": rounds,
        "phases.further_pretrain.participation.max_empty_rounds": rounds + 1,
    }
    with tempfile.TemporaryDirectory() as scratch:
        run = fedsim.simulate("million", settings, methods=[method], out=Path(scratch, "million"), price=True)
        return run.trips, run.rounds


trips, rounds = play("fedbt")
f"million: {len(trips):,} trips in {len(rounds)} rounds of FedBT"

# %% [markdown]
# ## First: who can take part at all?
#
# A plan whose peak memory is more than a device can give is `out_of_memory` before it begins. One round of FedAvg is
# enough to see it.

# %%
whole, _ = play("fedavg", rounds=1)
outcomes = pd.concat({"fedavg": whole, "fedbt": trips}).groupby([pd.Grouper(level=0), "outcome"], observed=True).size()
needs = {"fedavg": whole.memory_bytes.max() / 1e9, "fedbt": trips.memory_bytes.max() / 1e9}
outcomes.unstack(fill_value=0).assign(**{"peak memory, GB": pd.Series(needs)})

# %% [markdown]
# Training the whole of BERT-base does not fit into these phones, not into one of a million. FedBT's share of it does.
# So everything below is about FedBT.
#
# ## What a round costs
#
# The server waits for everybody here, so a round is as long as its slowest phone. The left picture shows a few of the
# rounds; the right one, from which classes the slowest came.

# %%
last = trips.loc[trips.groupby("round").end_s.idxmax()]
figure = blank(9.6, 3.0)
left, right = figure.subplots(1, 2)
minutes = (trips.end_s - trips.start_s) / 60
for number, own in minutes.groupby(trips["round"]):
    if number % 20 == 0:
        ordered = own.sort_values()
        left.plot(ordered, [100 * (i + 1) / len(ordered) for i in range(len(ordered))], label=f"round {number}", linewidth=1.2)
left.legend(frameon=False, fontsize=8)
dress(left, "minutes after the round began", "back, % of the cohort")
shares = pd.DataFrame(
    {
        "last of a round": 100 * last.groupby(["network", "device"], observed=True).size() / len(last),
        "of all trips": 100 * trips.groupby(["network", "device"], observed=True).size() / len(trips),
    }
).fillna(0.0)
names = [" ".join(pair) for pair in shares.index]
for shift, (column, style) in zip((-0.2, 0.2), styles(shares.columns).items(), strict=True):
    right.barh([i + shift for i in range(len(names))], shares[column], height=0.38, color=style["color"], label=column)
right.set_yticks(range(len(names)), names)
right.legend(frameon=False, fontsize=8)
dress(right, "%", "", grid="x")
figure

# %%
totals = rounds[["upload_bytes", "download_bytes", "flops_forward", "flops_backward", "energy_j"]].sum()
per_trip = (trips.end_s - trips.start_s).describe(percentiles=[0.5, 0.9])
pd.Series(
    {
        "simulated hours": rounds.end_s.max() / 3600,
        "sent, GB": totals.upload_bytes / 1e9,
        "received, GB": totals.download_bytes / 1e9,
        "PFLOP": (totals.flops_forward + totals.flops_backward) / 1e15,
        "energy, MJ": totals.energy_j / 1e6,
        "a trip, minutes (median)": per_trip["50%"] / 60,
        "a trip, minutes (p90)": per_trip["90%"] / 60,
        "devices that took part, %": 100 * trips.client.nunique() / 1_000_000,
    },
    name="100 rounds",
).to_frame()

# %% [markdown]
# ## A large fleet costs download
#
# A device downloads what has changed since it was last asked. In a small fleet it comes back soon and holds nearly all; in
# a large one nearly every trip is a first one, and pays for the whole model.

# %%
FLEETS = [2_000, 10_000, 100_000, 1_000_000]
rows = {}
for clients in FLEETS:
    seen, _ = play("fedbt", clients) if clients < 1_000_000 else (trips, rounds)
    first = ~seen.sort_values("round", kind="stable").duplicated("client")
    rows[clients] = {
        "first trips, %": 100 * first.mean(),
        "download of a trip, MB": seen.download_bytes.mean() / 1e6,
        "upload of a trip, MB": seen.upload_bytes.mean() / 1e6,
    }
fleets = pd.DataFrame(rows).T.rename_axis("devices")
fleets

# %%
figure = blank(6.4, 2.8)
axes = figure.subplots()
for column, style in styles([name for name in fleets if name.endswith("MB")]).items():
    axes.plot(fleets.index, fleets[column], **style)
axes.set_xscale("log")
axes.set_ylim(bottom=0)
axes.legend(frameon=False, fontsize=9)
dress(axes, "registered devices", "a trip, MB")
figure

# %% [markdown]
# ## What follows
#
# The cell below fails if one of these is not so.

# %%
assert set(whole.outcome) == {"out_of_memory"}  # the whole model fits nowhere
assert set(trips.outcome) == {"completed"}  # FedBT's part of it fits everywhere
assert (shares["last of a round"] - shares["of all trips"]).idxmax()[1] == "phone_low"  # the slowest phones end the rounds
assert fleets["download of a trip, MB"].is_monotonic_increasing  # a larger fleet downloads more, for the same training
assert fleets["upload of a trip, MB"].nunique() == 1  # and sends the same
print_me = fleets["download of a trip, MB"].iloc[-1] / fleets["upload of a trip, MB"].iloc[-1]
f"at a million devices a trip downloads {print_me:.0f} times what it sends: send less of the model down, or ask the same devices again"
