"""A part of every client's own samples, kept from training, to test what that client would use."""

import numpy as np

from fedsim import rng
from fedsim.data.shards import Shards, offsets
from fedsim.data.work import IntArray


def hold_out(shards: Shards, fraction: float, seed: int) -> tuple[Shards, Shards]:
    """What is left to train on, and what is held out, client by client.

    Of each client the fraction of its samples is drawn, rounded, but at least one and never all of them. A client with
    a single sample trains on it and has nothing to be tested on.
    """
    sizes, owners = shards.sizes, shards.owners
    held: IntArray = np.clip(np.floor(fraction * sizes + 0.5), 1, np.maximum(sizes - 1, 0)).astype(np.int64)
    keys = rng.stream(seed, "personal").random(len(owners))
    order = np.lexsort((keys, owners))
    chosen = np.zeros(len(owners), np.bool_)
    # sorted by owner, entries stay within their client's run: their place in it is their rank
    chosen[order] = np.arange(len(owners)) - shards.offsets[owners] < held[owners]
    return (
        Shards(shards.indices[~chosen], offsets(sizes - held)),
        Shards(shards.indices[chosen], offsets(held)),
    )


def pick_clients(shards: Shards, most: int, seed: int) -> IntArray:
    """Clients with held-out samples, at most `most` of them (0: all), drawn once and ascending."""
    clients: IntArray = np.flatnonzero(shards.sizes)
    if most and len(clients) > most:
        clients = np.sort(rng.stream(seed, "personal", "clients").choice(clients, most, replace=False))
    return clients


def majority(labels: IntArray, train: Shards, held_out: Shards, clients: IntArray) -> float:
    """Accuracy of always answering the most frequent label of the client's own training samples, mean over clients.

    Args:
        labels: label of every sample of the corpus.
        train: what each client trains on.
        held_out: what each is tested on.
        clients: those that count.
    """
    shares = []
    for client in clients:
        guess = np.bincount(labels[train[int(client)]]).argmax()
        shares.append(float(np.mean(labels[held_out[int(client)]] == guess)))
    return float(np.mean(shares))
