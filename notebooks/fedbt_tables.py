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
# # FedBT's tables, from traces
#
# FedBT's article (Wang et al., Journal of Software 36(9), 2025) reports what a client sends in a round, for BERT-base trained
# whole, for small models trained whole, and for FedBT. Nothing of that needs training: a payload follows from the sizes of
# the model and from which part is sent in which round. Here both of the article's set-ups are played in price mode, and the
# tables are worked out from the *traces*, trip by trip. [docs/methods/fedbt.md](../docs/methods/fedbt.md) discusses them.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import pandas as pd

import fedsim
from fedsim.papers import fedbt as paper
from fedsim.report.style import blank, dress, styles

pd.options.display.float_format = "{:,.2f}".format
NAMES = {"fedavg": "BERT-FL", "distilbert": "DistilBERT", "tinybert6": "TinyBERT-6", "tinybert4": "TinyBERT-4", "fedbt": "FedBT"}
runs = {}
with tempfile.TemporaryDirectory() as scratch:
    for table, name in (("table 1", "fedbt_paper_pretraining"), ("table 3", "fedbt_paper_finetuning")):
        run = fedsim.simulate(name, out=Path(scratch, name), price=True)
        _ = run.trips, run.stages, run.rounds  # read before the folder goes away
        runs[table] = run
{table: (run.scenario["name"], len(run.trips)) for table, run in runs.items()}

# %% [markdown]
# ## Payloads
#
# The mean upload of a trip, over all rounds. Table 1 counts in MiB (2²⁰ bytes), but for DistilBERT, which is in MB;
# table 3 counts in MB (10⁶). *Printed* is what the article says.


# %%
def payload_bytes(run):
    return run.trips.astype({"method": str}).groupby("method").upload_bytes.mean().rename(NAMES)


printed = [row for row in paper.rows() if row.quantity == "payload" and not row.unit.startswith("%")]
ours = {(row.table, row.row): payload_bytes(runs[row.table])[row.row] / (2**20 if row.unit == "MiB" else 1e6) for row in printed}
payloads = pd.DataFrame(
    [(row.table, row.row, row.unit, row.printed, ours[row.table, row.row]) for row in printed],
    columns=["table", "model", "unit", "printed", "from the trace"],
).set_index(["table", "model"])
payloads["difference, %"] = 100 * (payloads["from the trace"] / payloads["printed"] - 1)
for table, run in runs.items():
    share = 100 * payload_bytes(run) / payload_bytes(run)["BERT-FL"]
    payloads.loc[(table, list(share.index)), "% of BERT-FL"] = share.to_numpy()
payloads

# %%
figure = blank(9.6, 2.8)
for axes, table in zip(figure.subplots(1, 2), runs, strict=True):
    rows = payloads.loc[table]
    shown = {"printed": rows["printed"], "from the trace": rows["from the trace"]}
    for shift, (column, style) in zip((-0.2, 0.2), styles(shown).items(), strict=True):
        axes.barh([i + shift for i in range(len(rows))], shown[column], height=0.38, color=style["color"], label=column)
    axes.set_yticks(range(len(rows)), list(rows.index))
    axes.set_title({"table 1": "table 1: further pre-training", "table 3": "table 3: fine-tuning"}[table], fontsize=10)
    dress(axes, "payload, MiB" if table == "table 1" else "payload, MB", "", grid="x")
    axes.legend(frameon=False, fontsize=8)
figure

# %% [markdown]
# ## Round by round
#
# FedBT's mean hides a rhythm. In further pre-training a client sends one layer and the output layer; in fine-tuning all layers
# from the lowest trained one up, which grows for six rounds and begins again.

# %%
figure = blank(9.6, 2.8)
for axes, (table, run) in zip(figure.subplots(1, 2), runs.items(), strict=True):
    each = run.trips.astype({"method": str}).groupby(["method", "round"]).upload_bytes.mean().unstack(0) / 1e6
    for name, style in styles(("fedavg", "fedbt")).items():
        axes.plot(each.index + 1, each[name], **{**style, "label": NAMES[name]})
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    dress(axes, f"round of {table}", "sent by a client, MB")
figure

# %%
columns = ["phase", "stage", "rounds", "trained", "depth", "parameters_sent", "upload_bytes_per_client", "flops_share", "flops_layers_share"]
stages = pd.concat([run.stages[run.stages.method == "fedbt"][columns] for run in runs.values()])
stages.set_index(["phase", "stage"])

# %% [markdown]
# ## Computation
#
# What clients compute, as a share of BERT-base trained whole: by exact FLOPs, and by the count of layers alone, in which
# embeddings and head are free. The article compares seconds, which are neither.

# %%
shares = {}
for table, run in runs.items():
    flops = run.trips.astype({"method": str}).groupby("method")[["flops_forward", "flops_backward"]].sum().sum(axis=1)
    shares[table, "all FLOPs, %"] = (100 * flops / flops["fedavg"]).rename(NAMES)
    said = {row.row: row.printed for row in paper.rows() if row.table == table and row.quantity.startswith("compute")}
    shares[table, "article, % of seconds"] = pd.Series(said)
pd.DataFrame(shares).loc[list(NAMES.values())]

# %% [markdown]
# ## What follows
#
# The cell below fails if one of these is not so: the payloads of both tables are re-derived to less than 0.1 % (which is the
# framing of files), and FedBT sends 7.04 % and 20.19 % of what BERT-base does.

# %%
first, third = payloads.loc["table 1"], payloads.loc["table 3"]
assert payloads["difference, %"].abs().max() < 0.1
assert (round(first.loc["FedBT", "from the trace"], 2), round(first.loc["BERT-FL", "from the trace"], 2)) == (29.41, 417.76)
assert (round(third.loc["FedBT", "from the trace"], 2), round(third.loc["BERT-FL", "from the trace"], 2)) == (87.93, 435.61)
assert (round(first.loc["FedBT", "% of BERT-FL"], 2), round(third.loc["FedBT", "% of BERT-FL"], 2)) == (7.04, 20.19)
f"further pre-training: {first.loc['FedBT', '% of BERT-FL']:.2f} % of the payload; fine-tuning: {third.loc['FedBT', '% of BERT-FL']:.2f} %"
