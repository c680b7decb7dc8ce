"""Files in place of the wanted ones: pointers of Git LFS and git-annex, and web pages."""

from pathlib import Path

from mil_heatmaps.errors import HeatmapError

_BEGIN = 512


def stand_in(path: Path) -> str | None:
    """Return what the file is and how to get the one that was wanted; None when it is neither pointer nor page."""
    try:
        with path.open("rb") as file:
            begin = file.read(_BEGIN).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return None
    if begin.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"
    if begin.startswith((b"/annex/objects/", b"../.git/annex/")) or b".git/annex/objects/" in begin[:200]:
        return "a pointer of git-annex, not the file itself: fetch it with `git annex get`"
    if begin[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page, perhaps the answer to a download that needed a login: download the file again"
    return None


def refuse_no_file(path: Path, error: type[HeatmapError]) -> None:
    """Raise `error` if there is no regular file (a pipe would never end), or if `refuse_stand_in` refuses it."""
    if not path.is_file():
        raise error(f"{path}: " + ("is no file" if path.exists() else "does not exist"))
    refuse_stand_in(path, error)


def refuse_stand_in(path: Path, error: type[HeatmapError]) -> None:
    """Raise `error` when the file is a pointer or a web page."""
    if found := stand_in(path):
        raise error(f"{path} is {found}")
