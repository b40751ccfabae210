"""What glibc keeps of memory that is free: less, where that would be most of what a process holds. Elsewhere nothing happens."""

import ctypes
import gc

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
_LIBRARY = ctypes.CDLL(None)
_GLIBC = hasattr(_LIBRARY, "malloc_trim")  # other C libraries give back by themselves


def share_heaps() -> None:
    """Threads take from two heaps together. Each would otherwise have one, which keeps the blocks that it freed last."""
    if _GLIBC:
        _LIBRARY.mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Memory that is free goes back to the system. Glibc keeps it for more of the same, and what follows is of another kind:
    a few large columns, which it is told to hand back at once."""
    gc.collect()
    if _GLIBC:
        _LIBRARY.mallopt(_M_MMAP_THRESHOLD, 2**20)
        _LIBRARY.malloc_trim(0)
