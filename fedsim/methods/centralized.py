"""Training on the pooled data of the cohort: what federated learning is measured against (BERT-C)."""

from fedsim.methods.fedavg import FedAvg

CENTRALIZED = FedAvg(pooled=True)
"""The full model in one place, on exactly the samples that the cohort would have trained on."""
