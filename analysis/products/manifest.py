"""Where each figure and table comes from: hashes of records, code and files, kept as a manifest."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analysis.records.store import file_sha256

ROOT = Path(__file__).parents[2]
MANIFEST = "manifest.json"
SCHEMA = 1

Manifest = dict[str, Any]


def code_files(source: Path) -> list[Path]:
    """Return a module's file and those of `analysis` that it imports, directly or not."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return sorted(found)


def code_sha256(files: list[Path]) -> str:
    """One hash of several files, with their names."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(ROOT).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read a folder's manifest; one of another schema is refused (ValueError)."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text("utf-8"))
    if manifest.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} has schema {manifest.get('schema')!r}; {SCHEMA} is accepted: run `make "
            f"figures`."
        )
    return dict(manifest)


def write_manifest(folder: Path, products: Mapping[str, Any]) -> None:
    """Write what each product was made from, and by which Matplotlib: its bytes depend on that."""
    content = {
        "schema": SCHEMA,
        "matplotlib": version("matplotlib"),
        "products": dict(sorted(products.items())),
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def differences(folder: Path, current: Mapping[str, Any]) -> list[str]:
    """Say of each product what its folder's manifest and files no longer agree with.

    Parameters
    ----------
    folder : Path
        Of the figures and tables.
    current : mapping
        By product, what it would be made from now; as `write_manifest` takes it, without "files".
    """
    recorded = read_manifest(folder)["products"]
    sentences = [f"{name}: in no manifest" for name in sorted(set(current) - set(recorded))]
    sentences += [f"{name}: made by nothing" for name in sorted(set(recorded) - set(current))]
    for name in sorted(set(recorded) & set(current)):
        for part in ("records", "inputs", "code", "missing"):
            if recorded[name][part] != current[name][part]:
                sentences.append(f"{name}: older than its {part}")
        for file, sha256 in recorded[name]["files"].items():
            path = folder / file
            if not path.is_file() or file_sha256(path) != sha256:
                sentences.append(f"{name}: {file} is not the file that was made")
    return sentences


def _imported(path: Path) -> list[Path]:
    """Files of `analysis` that a Python file imports by name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = (
        ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("analysis.")
    )
    return [file for file in files if file.is_file()]
