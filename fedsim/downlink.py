"""From the server to the hosts: every group as the server has it, and as the clients receive it."""

from collections.abc import Collection, Iterable

from fedsim import rng
from fedsim.engine.base import Engine
from fedsim.model.layout import FloatArray
from fedsim.plan import CONTROL
from fedsim.server.optimizer import ServerState
from fedsim.server.parameters import GlobalModel
from fedsim.wire import Codec


class Downlink:
    """Publishes one method's groups. Clients train what they receive; the server tests what it has."""

    def __init__(self, method: str, engine: Engine | None, codec: Codec, seed: int) -> None:
        self.exact = f"{method}/"
        """Prefix of the groups as they are."""
        self.received = self.exact if codec.lossless else f"{method}/received/"
        """Prefix of the groups as the codec leaves them."""
        self._engine, self._codec, self._seed = engine, codec, seed

    def publish(
        self, model: GlobalModel, names: Iterable[str], server: ServerState, older: Iterable[GlobalModel] = ()
    ) -> None:
        """Make these groups available to all hosts; a version is the same bits for every client that fetches it.

        With them go the server's control variates, which change whenever their groups do. Earlier versions are let go,
        but for those of models that somebody is still under way from.
        """
        kept = list(older)
        if self._engine is None:
            return
        for name in names:
            version, values = model.versions[name], model.groups[name]
            keep = {old.versions[name] for old in kept if name in old.versions}
            self._engine.publish(self.exact + name, version, values, keep)
            if self.received != self.exact:
                self._engine.publish(self.received + name, version, self.got(model, name), keep)
            if CONTROL + name in server:
                self._engine.publish(self.received + CONTROL + name, version, server[CONTROL + name])

    def restore(self, model: GlobalModel, server: ServerState, older: Collection[GlobalModel]) -> None:
        """Publish everything anew, with what clients who are under way have started from."""
        known: set[tuple[str, int]] = set()
        for each in (*older, model):
            names = [name for name in each.names if (name, each.versions[name]) not in known]
            self.publish(each, names, server if each is model else {}, older)
            known |= {(name, each.versions[name]) for name in names}

    def got(self, model: GlobalModel, name: str) -> FloatArray:
        """A group as clients receive it."""
        values, layout = model.groups[name], model.layouts[name]
        # a group that is not used at present is empty, and there is nothing to encode in it
        if self.received == self.exact or not layout.size:
            return values
        draw = rng.stream(self._seed, "codec", "download", name, model.versions[name])
        return self._codec.decode(self._codec.encode(values, layout, draw), layout)

    def versions(
        self, model: GlobalModel, prefix: str, names: Collection[str], server: ServerState | None = None
    ) -> dict[str, int]:
        """Published names under one of the prefixes, with versions; given the server's state, control variates too."""
        own = {CONTROL + name: name for name in names if CONTROL + name in (server or {})}
        return {prefix + key: model.versions[name] for key, name in ({name: name for name in names} | own).items()}
