"""Check an HDF5 file's structure before it is read; `hdf5_guard` runs this as a separate process.

On a hostile or damaged file the HDF5 library may read other files, hang or crash. So this touches everything that a
reader touches before the numbers: links, layouts, attributes, and the index of chunks. It imports nothing of the
package, so that the process starts quickly.
"""

import json
import signal
import sys
from contextlib import suppress
from typing import Any

import h5py

MOST_LINKS = 100_000
"""Files of one slide hold a handful of datasets, files of a cohort a few for each slide."""

MOST_ATTRIBUTE_BYTES = 64 << 20

LIMIT_S = 60
"""Seconds for one file, after which this process ends by itself: the one that asked gave up before, or was killed."""

MEMORY_BYTES = 4 << 30
"""Address space of the checking process."""


def why_refused(path: str) -> str | None:
    """Return why a file must not be read, None if it is harmless; errors of h5py are passed on."""
    with h5py.File(path, "r") as file:
        waiting: list[tuple[str, Any]] = [("", file)]
        seen = set()
        links = 0
        while waiting:
            place, group = waiting.pop()
            for name in group:
                links += 1
                if links > MOST_LINKS:
                    return f"it holds more than {MOST_LINKS:,} groups and datasets"
                where = f"{place}/{name}"
                kind = group.get(name, getlink=True)
                if isinstance(kind, h5py.ExternalLink):
                    return f"{where!r} is a link into another file ({kind.filename!r})"
                if isinstance(kind, h5py.SoftLink):
                    if leads_in_a_circle(group, name):
                        return f"{where!r} is a link that leads in a circle"
                    continue  # its target is checked under its own name
                item = group[name]
                if isinstance(item, h5py.Group):
                    address = h5py.h5o.get_info(item.id).addr
                    if address not in seen:
                        seen.add(address)
                        waiting.append((where, item))
                elif isinstance(item, h5py.Dataset) and (why := _why_not(item, where)):
                    return why
                if why := _touch_attributes(item, where):
                    return why
        return _touch_attributes(file, "/")


def leads_in_a_circle(group: Any, name: str) -> bool:
    """Whether HDF5 gives up a link after too many steps; a link that leads nowhere is harmless."""
    try:
        group[name]
    except KeyError as error:
        return "too many" in str(error)
    except RuntimeError:
        return True
    return False


def _why_not(item: Any, where: str) -> str | None:
    created = item.id.get_create_plist()
    if item.is_virtual:
        return f"{where!r} is a virtual dataset, put together from other files"
    if created.get_layout() == h5py.h5d.CONTIGUOUS and created.get_external_count():
        name = created.get_external(0)[0]
        return f"{where!r} keeps its numbers in another file ({name.decode('utf-8', 'replace')!r})"
    if item.shape is not None and item.chunks is not None:
        item.id.get_num_chunks()
    if item.shape is not None and item.dtype.hasobject:  # texts in a heap, which HDF5 can read without end
        item[()]
    return None


def _touch_attributes(item: Any, where: str) -> str | None:
    for number in range(h5py.h5a.get_num_attrs(item.id)):
        attribute = h5py.h5a.open(item.id, index=number)
        if attribute.get_storage_size() > MOST_ATTRIBUTE_BYTES:
            return f"an attribute of {where!r} has {attribute.get_storage_size():,} bytes"
        with suppress(Exception):  # of a type that cannot be read here: code that needs it reports it
            item.attrs[attribute.name.decode("utf-8", "surrogateescape")]
    return None


def answer(path: str) -> dict[str, str | None]:
    """Return ``refused`` (why or None), or ``damaged`` with what h5py says."""
    try:
        return {"refused": why_refused(path)}
    except MemoryError:
        return {"refused": "to open it takes more memory than its size explains"}
    except Exception as error:  # h5py raises nearly every kind for a damaged file
        return {"damaged": " ".join(str(error).split())[:200]}


def main() -> None:
    """Answer each line of standard input, a path in JSON, with a line of JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    alarm = getattr(signal, "alarm", lambda seconds: 0)  # Windows has none
    for line in sys.stdin:
        alarm(LIMIT_S)
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()
        alarm(0)


if __name__ == "__main__":
    main()
