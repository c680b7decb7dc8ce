"""The source code of the user's own encoder or model: its module and the user's modules that it imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_PARSED: dict[tuple[str, str, int, int], tuple[str, tuple[str, ...]]] = {}
_THIS_PROGRAM = Path(__file__).resolve().parents[1]


def code_digest(module: str) -> str | None:
    """Return the SHA-256 over the sources of `module` and of all it imports, directly or not; None without source.

    Nothing is imported. Installed packages, Python's own modules and this program are left out, because only the user's
    own code changes from one run to the next.
    """
    found = _sources([module])
    return _digest(found) if found else None


def file_digest(path: Path, module: str = "") -> str:
    """Return the SHA-256 over a source file, wherever it lies, and its imports, like `code_digest`.

    `module` is the name under which the file is imported; relative imports start from it.
    """
    own, imported = _parsed(path, module)
    return _digest({"": own, **_sources([_known(name) for name in imported])})


def _sources(modules: list[str]) -> dict[str, str]:
    """Return the digest of each of these modules that is the user's own, and of all such modules they import."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _source_of(name)
        if name in found or path is None:
            continue
        found[name], imported = _parsed(path, name)
        waiting += [_known(other) for other in imported]
    return found


def _digest(found: dict[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{name}:{digest}" for name, digest in sorted(found.items())).encode()).hexdigest()


def _known(name: str) -> str:
    """Return the module of an imported name, which may be a module or ``module.attribute``."""
    return name if _source_of(name) is not None else name.rpartition(".")[0] or name


def _source_of(module: str) -> Path | None:
    """Return the file of a module that is the user's own, else None."""
    path = module_file(module)
    return path if path is not None and path.suffix == ".py" and _is_own(path) else None


def module_file(module: str) -> Path | None:
    """Return the file of a module, found without importing its package, which would run the package's code."""
    top, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not below:
        return Path(spec.origin) if spec is not None and spec.origin else None
    for folder in spec.submodule_search_locations or ():
        for path in (Path(folder, *below).with_suffix(".py"), Path(folder, *below, "__init__.py")):
            if path.is_file():
                return path
    return None


def _is_own(path: Path) -> bool:
    home = path.resolve()
    paths = sysconfig.get_paths()
    installed = [Path(paths[key]).resolve() for key in ("purelib", "platlib")]
    if any(home.is_relative_to(folder) for folder in installed) or "site-packages" in home.parts:
        return False
    standard = [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib")]
    return not any(home.is_relative_to(folder) for folder in (*standard, _THIS_PROGRAM))


def _parsed(path: Path, module: str) -> tuple[str, tuple[str, ...]]:
    """Return (digest, modules imported) of a source file; a file that has not changed is not read again."""
    status = path.stat()
    key = (str(path), module, status.st_size, status.st_mtime_ns)
    if key not in _PARSED:
        source = path.read_bytes()
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        try:
            imported = tuple(sorted(set(_imports(ast.parse(source), package))))
        except (SyntaxError, ValueError):  # reported when the file is loaded
            imported = ()
        _PARSED[key] = hashlib.sha256(source).hexdigest(), imported
    return _PARSED[key]


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield every module, or module and name, that the code imports anywhere."""
    if package:
        yield package  # its __init__ runs first
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            start = ".".join(part for part in (base, node.module) if part)
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)
