"""Whether a payload has arrived as it was sent: CRC-32, as in Ethernet and gzip.

It finds every change of bits that all lie within a run of 32, and any other but for one in 4 billion. Its four bytes a
payload travel with the framing, which the account leaves out as it does headers of transport and encryption.
"""

import zlib


def seal(payload: bytes) -> int:
    """The checksum that goes with a payload."""
    return zlib.crc32(payload)


def intact(payload: bytes, sealed: int) -> bool:
    """A payload that has arrived fits the checksum that came with it."""
    return zlib.crc32(payload) == sealed
