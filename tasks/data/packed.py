"""The content of .gz and .zst files, in one or several members, in bounded blocks; no bomb goes off."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from infra.errors import BadData

UNPACKED, RATIO = 2**30, 200  # bytes that any file may unpack to, and times its size beyond that; text packs to a tenth
WINDOW = 2**27  # bytes that a .zst may look back, and that stay in memory: as far as `zstd --long` goes


def unpacked(blocks: Iterable[bytes], kind: str, name: str) -> Iterator[bytes]:
    """What is in a packed file of that kind; BadData where it is damaged, cut short, or a bomb."""
    make, piece, damage = _KINDS[kind]()
    read, made, member = 0, 0, make()
    for block in blocks:
        for at in range(0, len(block), piece):
            rest = block[at : at + piece]
            read += len(rest)
            while rest:
                member = make() if member.eof else member
                try:
                    data = member.decompress(rest)
                except damage as error:
                    raise _damaged(kind, name, error) from None
                yield data
                made += len(data)
                rest = member.unused_data
            if made > UNPACKED + RATIO * read:
                raise BadData(
                    "the file unpacks to far more than rows do",
                    place=name,
                    value=f"over {made:,} bytes",
                    remedy="give it as it is, not packed, if it holds rows",
                )
    if not member.eof:
        raise _damaged(kind, name, "its end is missing")


def _damaged(kind: str, name: str, why: object) -> BadData:
    return BadData(f"the file is no whole {kind}", place=name, value=why, remedy="pack it again")


# What makes a member, how many bytes it may be given at once so that what comes out is some 32 MB at most, its error.
Kind = tuple[Callable[[], Any], int, type[Exception]]


def _gzip() -> Kind:
    return lambda: zlib.decompressobj(wbits=31), 2**15, zlib.error  # deflate makes 1,032 bytes of one at most


def _zstandard() -> Kind:
    import zstandard  # noqa: PLC0415 - only those who have such a file need it

    # A block of 4 bytes makes 128 KiB at most (RFC 8878, 3.1.1.2).
    return zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj, 2**10, zstandard.ZstdError


_KINDS: dict[str, Callable[[], Kind]] = {".gz": _gzip, ".zst": _zstandard}
