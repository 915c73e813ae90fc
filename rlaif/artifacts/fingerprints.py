"""Fingerprints of artefacts: one hash of configuration, inputs, and the code that made it."""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

from rlaif.artifacts.computed_imports import computed_imports, literal_imports

log = logging.getLogger(__name__)
DATA_SUFFIXES = frozenset({".txt", ".toml", ".j2", ".jinja", ".html", ".css", ".js"})
"""Text files that belong to the code of their package: prompts and templates."""


def fingerprint(name: str, config: Mapping[str, object], inputs: Sequence[str], code: Sequence[str]) -> str:
    """Hash everything that a stage's output depends on.

    Args:
        name: Name of the stage.
        config: The configuration that the stage reads, as plain values. Paths, devices, worker counts and
            logging are left out by the caller; precision and global batch size are in.
        inputs: Fingerprints or content hashes of the inputs, in the order of their roles.
        code: Digests from :func:`code_digest`.

    Returns:
        20 hexadecimal digits.

    Raises:
        TypeError: ``config`` holds something that is not a plain value.
        ValueError: ``config`` holds a NaN or an infinity.

    >>> fingerprint("sft", {"a": 1, "b": 2}, ["x"], []) == fingerprint("sft", {"b": 2, "a": 1}, ["x"], [])
    True
    >>> fingerprint("sft", {"a": 1}, ["x", "y"], []) == fingerprint("sft", {"a": 1}, ["y", "x"], [])
    False
    """
    document = {"name": name, "config": _plain(config), "inputs": list(inputs), "code": sorted(code)}
    text = json.dumps(document, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        not_text = [key for key in value if not isinstance(key, str)]
        if not_text:
            raise TypeError(f"fingerprint: keys are strings, got {not_text[0]!r}")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item) for item in value]
    raise TypeError(f"fingerprint: {value!r} of type {type(value).__name__} is not a plain value")


def code_digest(module_names: Sequence[str]) -> str:
    """Hash the code that runs when these modules are used, without importing them.

    The static import closure inside ``rlaif``, the top-level packages of ``module_names``, and packages that do not lie
    among installed libraries (editable installs, folders on the path) is parsed; docstrings, comments and layout do not
    count, nor do imports for type checking only. ``importlib.import_module`` of a literal name counts as an import; of
    a plugin's import by a computed name a warning is logged: its code is not counted. Text files beside a module of the
    closure (``DATA_SUFFIXES``) belong to it.

    Args:
        module_names: Dotted names, e.g. ``["rlaif.stages.sft", "my_plugin.labeler"]``.

    Returns:
        20 hexadecimal digits.

    Raises:
        ModuleNotFoundError: A named module does not exist.
    """
    packages = {"rlaif"} | {name.partition(".")[0] for name in module_names}
    digest = hashlib.sha256()
    for name, path in sorted(_closure(module_names, packages).items()):
        stat = path.stat()
        digest.update(f"{name}:{_parsed(path, name, stat.st_mtime_ns, stat.st_size)[0]}\n".encode())
        for data_file in _data_files(path) if path.name == "__init__.py" else ():
            content = hashlib.sha256(data_file.read_bytes()).hexdigest()
            digest.update(f"{name}/{data_file.relative_to(path.parent).as_posix()}:{content}\n".encode())
    return digest.hexdigest()[:20]


def _closure(module_names: Sequence[str], packages: set[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = [(name, True) for name in module_names]
    while waiting:
        name, must_exist = waiting.pop()
        top = name.partition(".")[0]
        if name in found or not (top in packages or _is_local(top)):
            continue
        path = _module_file(name)
        if path is None:
            if must_exist:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            continue
        found[name] = path
        stat = path.stat()
        waiting += [(imported, False) for imported in _parsed(path, name, stat.st_mtime_ns, stat.st_size)[1]]
        parent = name.rpartition(".")[0]
        if parent:
            waiting.append((parent, False))
    return found


def _module_file(name: str) -> Path | None:
    """The source file of a module; importing nothing, not even its parents."""
    top, *rest = name.split(".")
    spec = find_spec(top)
    for depth in range(len(rest)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        dotted = ".".join([top, *rest[: depth + 1]])
        spec = PathFinder.find_spec(dotted, list(spec.submodule_search_locations))
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@lru_cache(maxsize=1024)
def _is_local(top: str) -> bool:
    """True for a package whose source is neither the standard library's nor an installed library's: a checkout."""
    if top in sys.stdlib_module_names:
        return False
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return False
    origin = spec.origin if spec else None
    if spec is None or origin is None or not origin.endswith(".py"):
        return False
    return not {"site-packages", "dist-packages"} & set(Path(origin).parts)


@lru_cache(maxsize=4096)
def _parsed(path: Path, name: str, mtime_ns: int, size: int) -> tuple[str, tuple[str, ...]]:
    """Digest of a file's code and the modules it may import; the last two arguments only key the cache."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = _WithoutText().visit(tree)
    imported = tuple(sorted({*_imports(tree, package), *literal_imports(tree, name, package)}))
    if name.partition(".")[0] != "rlaif":
        for line in computed_imports(tree, name, package):
            log.warning(
                "%s:%d imports a module by a computed name: a change of that module's code is not seen, and results "
                "are reused; import it by its name, or give the component an identity that holds its version",
                path,
                line,
            )
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imported


class _WithoutText(ast.NodeTransformer):
    """Drops docstrings, also those under fields, and what only a type checker reads."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        test = node.test
        guards_typing = (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
            isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
        )
        return node.orelse if guards_typing else node


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                root = ".".join(parents[: len(parents) - node.level + 1])
                base = f"{root}.{base}" if base else root
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _data_files(init_file: Path) -> list[Path]:
    """Text files of the package: in its directory and in directories below that are not packages."""
    package_dir = init_file.parent
    files: list[Path] = []
    waiting = [package_dir]
    while waiting:
        directory = waiting.pop()
        for entry in directory.iterdir():
            if entry.is_dir():
                if not (entry / "__init__.py").exists() and entry.name != "__pycache__":
                    waiting.append(entry)
            elif entry.suffix in DATA_SUFFIXES:
                files.append(entry)
    return sorted(files)
