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
# # Designing a fleet
#
# A thousand weak phones, and BERT-base: which of them can hold which method, how long should the server wait, and which
# devices are worth adding? All of it follows from prices, so nothing is trained. `python -m fedsim fleet weak_phones` prints
# the same for more methods; [docs/fleet.md](../docs/fleet.md) says where the devices' numbers come from, and how far to
# trust them.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import fedsim
from fedsim.fleet import catalog
from fedsim.observe.observer import Silent
from fedsim.report.fleet_figure import fleet_figure
from fedsim.report.style import blank, dress, styles
from fedsim.scenario.load import load
from fedsim.scenario.shelf import find
from fedsim.survey import survey

pd.options.display.float_format = "{:,.1f}".format
METHODS = ("fedavg", "fedbt-3", "lora")
PHASE = "further_pretrain"
loaded = load(find("weak_phones"), ["phases.finetune=null"])
scenario = loaded.scenario.model_copy(update={"methods": {name: loaded.scenario.methods[name] for name in METHODS}})
found = survey(scenario, loaded.base, 1000, Silent())
demands = {one.method: one for one in found.demands}
f"{scenario.name}: {scenario.fleet.clients:,} phones, {len(demands)} methods"

# %% [markdown]
# ## Who can hold what
#
# A plan whose peak memory is more than the device can give to training is refused by that device.

# %%
fleet = found.fleet.take(found.looked_at)
device = np.array(fleet.devices)[fleet.device]
has = {name: catalog.devices()[name].memory_bytes / 1e9 for name in dict.fromkeys(device)}
holds = pd.DataFrame({name: pd.Series(100.0 * one.able).groupby(device).mean() for name, one in demands.items()})
holds.insert(0, "memory, GB", pd.Series(has))
holds.insert(0, "devices, %", 100 * pd.Series(device).value_counts(normalize=True))
holds.loc["whole fleet"] = [100.0, np.nan, *(100 * one.able.mean() for one in demands.values())]
holds.loc["needs, GB"] = [np.nan, np.nan, *(one.memory_bytes.max() / 1e9 for one in demands.values())]
holds.sort_values("memory, GB", na_position="last")

# %%
fleet_figure(found)

# %% [markdown]
# ## How long to wait
#
# A trip of those who are able, with everything to download. Wi-Fi and 4G are back in minutes; the tail is 3G.

# %%
waits = [0.5, 0.75, 0.9, 0.95, 1.0]
trips = pd.DataFrame({name: pd.Series(one.trip_s[one.able] / 60).quantile(waits) for name, one in demands.items()})
trips.rename_axis("share that is back").rename(index="{:.0%}".format)

# %%
figure = blank(6.4, 2.8)
axes = figure.subplots()
for name, style in styles(METHODS).items():
    back = np.sort(demands[name].trip_s[demands[name].able]) / 60
    axes.plot(back, 100 * np.arange(1, len(back) + 1) / len(device), **{**style, "marker": "", "linewidth": 2})
axes.set_xscale("log")
axes.set_ylim(0, 100)
axes.legend(frameon=False, fontsize=9)
dress(axes, "minutes", "back, % of the whole fleet")
figure

# %% [markdown]
# ## Three designs, played
#
# The same phones with FedBT: one server waits for all, the other one asks a quarter more and gives up on trips that take
# longer than 90 % of them. And another fleet: every old phone replaced by an old laptop, for FedAvg.


# %%
def play(method, **participation):
    settings = {"phases.finetune": None, **{f"phases.{PHASE}.participation.{key}": value for key, value in participation.items()}}
    if method == "fedavg":
        devices = {"laptop_old": 0.25, "phone_low": 0.3, "phone_mid": 0.25, "phone_high": 0.15, "phone_flagship": 0.05}
        settings["fleet.source.devices"] = devices
    with tempfile.TemporaryDirectory() as scratch:
        run = fedsim.simulate("weak_phones", settings, methods=[method], out=Path(scratch, "run"), price=True)
        sums, counts = run.rounds.sum(numeric_only=True), run.trips.outcome.astype(str).value_counts()
        return {
            "hours for 12 rounds": run.rounds.end_s.max() / 3600,
            "updates used": counts.get("completed", 0),
            "too large": counts.get("out_of_memory", 0),
            "late": counts.get("late", 0),
            "wasted device time, %": 100 * sums.wasted_device_seconds / sums.device_seconds,
            "sent, MB": sums.upload_bytes / 1e6,
            "energy, kJ": sums.energy_j / 1e3,
        }


deadline_s = float(np.quantile(demands["fedbt-3"].trip_s, 0.9))
designs = pd.DataFrame(
    {
        "fedbt-3, waits for all": play("fedbt-3"),
        "fedbt-3, deadline": play("fedbt-3", over_selection=1.25, deadline_s=round(deadline_s)),
        "fedavg, laptops instead": play("fedavg"),
    }
).T
designs

# %% [markdown]
# ## What follows
#
# The cell below fails if one of these is not so.
#
# - The whole of BERT-base fits into the few best phones only; three layers at a time fit into all of them.
# - A deadline that nine tenths of the trips keep, and a quarter more clients, give as many updates in a fraction of the time.
#   The price is devices' work that comes too late.
# - With old laptops in the place of the weakest quarter FedAvg still does not fit into most of the fleet, and sends many
#   times as much: a lighter method reaches more devices than better devices do.

# %%
able = holds.loc["whole fleet"]
assert able["fedavg"] < 25
assert able["fedbt-3"] == 100
slow, fast, bought = (designs.loc[name] for name in designs.index)
assert fast["hours for 12 rounds"] < slow["hours for 12 rounds"] / 2
assert fast["updates used"] >= 0.9 * slow["updates used"]
assert 0 < fast["wasted device time, %"] < 40
assert bought["too large"] > bought["updates used"]
assert bought["sent, MB"] / bought["updates used"] > 5 * slow["sent, MB"] / slow["updates used"]
f"with a deadline of {deadline_s / 60:.0f} minutes, {fast['hours for 12 rounds']:.1f} hours instead of {slow['hours for 12 rounds']:.1f}"
