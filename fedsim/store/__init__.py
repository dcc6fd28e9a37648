"""What a run keeps on disk, written so that a kill or a full disk at any moment leaves it readable."""

from fedsim.store.checkpoint import CheckpointState, load_latest, save
from fedsim.store.client_state import ClientStore
from fedsim.store.lock import RunLock

__all__ = ["CheckpointState", "ClientStore", "RunLock", "load_latest", "save"]
