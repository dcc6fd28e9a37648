"""From the server to the hosts: every group as the server has it, and as the clients receive it."""

from collections.abc import Iterable

from fedsim import rng
from fedsim.engine.base import Engine
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

    def publish(self, model: GlobalModel, names: Iterable[str]) -> None:
        """Make these groups available to all hosts; a version is the same bits for every client that fetches it."""
        if self._engine is None:
            return
        for name in names:
            version, values, layout = model.versions[name], model.groups[name], model.layouts[name]
            self._engine.publish(self.exact + name, version, values)
            if self.received != self.exact:
                payload = self._codec.encode(values, layout, rng.stream(self._seed, "codec", "download", name, version))
                self._engine.publish(self.received + name, version, self._codec.decode(payload, layout))

    def versions(self, model: GlobalModel, prefix: str, names: Iterable[str]) -> dict[str, int]:
        """Published names under one of the prefixes, with their versions."""
        return {prefix + name: model.versions[name] for name in names}
