"""What stays on a client's device between its rounds, kept on disk and never in the driver's memory.

Every write makes a new file named by client and round; none is ever changed. Which of them counts is said by the
`versions` column of the checkpoint (the round of a client's last committed state, -1 for none), so a block of
clients that is run twice, or a round that is lost to a kill, does no harm.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedsim.errors import FedsimError
from fedsim.store import atomic
from fedsim.store.atomic import Array

# Folders with more entries than this are slow on some file systems.
_CLIENTS_PER_FOLDER = 1000
# The machine that trains pooled data is client -1, and its version the last one of `versions`.
_FILE = re.compile(r"(-?\d+)-(\d+)\.safetensors")


@dataclass(frozen=True)
class ClientStore:
    """The states of one method's clients; several processes may use the same folder at once."""

    folder: Path

    def write(self, client: int, round_: int, arrays: Mapping[str, Array]) -> None:
        """Store a client's state as it is after `round_`; writing it again gives the same file.

        Raises:
            FedsimError: The disk refused; names the file.
        """
        atomic.write_tensors(self._path(client, round_), arrays)

    def read(self, client: int, round_: int) -> dict[str, Array] | None:
        """The state that `client` wrote in `round_`, its arrays in the order written; None for round -1 (no state yet).

        Raises:
            FedsimError: The file is missing or damaged; names the client and the file.
        """
        if round_ < 0:
            return None
        path = self._path(client, round_)
        try:
            return atomic.read_tensors(path)
        except OSError as error:
            raise FedsimError(
                f"the state that client {client} kept in round {round_} cannot be read from {path}: {error}"
            ) from error

    def prune(self, versions: npt.NDArray[np.int32], round_: int) -> int:
        """Remove superseded and uncommitted states; returns how many files went.

        Args:
            versions: [clients + 1], of the oldest checkpoint that may still be gone back to: older states go. The
                last entry is that of the machine with pooled data, client -1.
            round_: The last committed round: states of later rounds go.
        """
        removed = 0
        for path in self.folder.glob("*/*.safetensors"):
            match = _FILE.fullmatch(path.name)
            if match is None:
                continue
            client, version = int(match[1]), int(match[2])
            if client >= len(versions) or not versions[client] <= version <= round_:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _path(self, client: int, round_: int) -> Path:
        return self.folder / f"{client // _CLIENTS_PER_FOLDER:03d}" / f"{client}-{round_}.safetensors"
