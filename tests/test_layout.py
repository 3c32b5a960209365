"""Who may import whom, and that no entry point needs an optional package."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = "nerfseg_plugins"
BASE = {"errors", "files", "compat", "launch", "manifest", "train_ranks", "weights", "sam"}
SHARED = {"scene", "segments", "features", "image_based", "rooms", "evaluation"}
WIRING = {"cli", "method_configs", "dataparsers"}
OPTIONAL = ("segment_anything", "open_clip", "timm", "transformers", "detectron2", "tinycudann")
FORMATS = {f"{PACKAGE}.segments.{name}" for name in ("masks", "mask_folder", "hierarchy")}
# A dataparser is imported while nerfstudio's datamanagers are being imported: none of these may lead back to them.
FOR_DATAPARSERS = (
    "nerfstudio.cameras.",
    "nerfstudio.data.dataparsers.",
    "nerfstudio.data.scene_box",
    "nerfstudio.plugins.registry_dataparser",
    "nerfstudio.utils.",
)


class Import(NamedTuple):
    """One imported module and where."""

    name: str
    line: int
    in_function: bool


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its name on import."""
    found = {}
    for folder, prefix in (
        (ROOT / PACKAGE, PACKAGE),
        (ROOT / "method_configs", f"{PACKAGE}.method_configs"),
        (ROOT / "dataparsers", f"{PACKAGE}.dataparsers"),
    ):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([prefix, *(part for part in parts if part != "__init__")])] = path
    return found


@cache
def imports(module: str) -> list[Import]:
    """What a module imports when it is used, at its top or inside functions; not what type checkers alone read."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return list(_walk(ast.parse(path.read_text(encoding="utf-8")), package, False))


def _walk(node: ast.AST, package: str, in_function: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, in_function) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*parents, *([node.module] if node.module else [])])
        for alias in node.names:
            name = f"{source}.{alias.name}"
            yield Import(name if name in modules() else source, node.lineno, in_function)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.orelse:
            yield from _walk(child, package, in_function)
    else:
        inner = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from _walk(child, package, inner)


def room_of(module: str) -> str:
    """`nerfseg_plugins.scene.run` -> `scene`; the package itself -> ``."""
    return module.split(".")[1] if "." in module else ""


def techniques() -> set[str]:
    """The rooms of techniques: whatever is none of the others."""
    return {room_of(module) for module in modules()} - BASE - SHARED - WIRING - {""}


def allowed_rooms(room: str) -> set[str]:
    """The rooms that `room` may import from, besides itself."""
    if room in BASE:
        lowest = {"errors": set(), "files": {"errors"}, "launch": {"errors"}, "train_ranks": {"errors", "launch"}}
        higher = {"compat": {"errors", "files", "train_ranks"}, "sam": {"errors", "weights"}}
        return {**lowest, **higher}.get(room, {"errors", "files"})
    if room == "image_based":  # the shared room that stands on others: its runs are trained and opened as a scene's are
        return BASE | {"scene", "features"}
    if room in SHARED:
        return BASE
    if room == "dataparsers":
        return {"errors", "files"}
    if room == "method_configs":
        return BASE | SHARED | techniques() | {"dataparsers"}
    if room == "cli":
        return BASE | SHARED | techniques() | WIRING
    return BASE | SHARED | {"dataparsers"}  # a technique; the parsers reach no higher than the formats of masks


def test_nothing_reaches_sideways_or_up():
    assert "instance_nerf" in techniques()
    wrong = []
    for module in modules():
        room = room_of(module)
        for name, line, _ in imports(module):
            if not name.startswith(PACKAGE):
                continue
            if room == "dataparsers" and name in FORMATS:
                continue  # what both sides read
            if room_of(name) not in allowed_rooms(room) | {room}:
                wrong.append(f"{modules()[module].relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def test_the_rules_would_notice():
    """The walker sees relative imports, imports in functions, and both spellings of a module."""
    source = (
        "from . import points\n"
        "def f():\n    from ..segments import masks\n    import nerfseg_plugins.cli.main\n"
        "if TYPE_CHECKING:\n    import torch\n"
    )
    found = list(_walk(ast.parse(source), f"{PACKAGE}.scene", False))
    assert found == [
        (f"{PACKAGE}.scene.points", 1, False),
        (f"{PACKAGE}.segments.masks", 3, True),
        (f"{PACKAGE}.cli.main", 4, True),
    ]
    assert "segments" not in allowed_rooms("scene") and "isrf" not in allowed_rooms("instance_nerf")
    # What renders from source views may use trainers and features; these know nothing of it.
    assert {"scene", "features"} <= allowed_rooms("image_based") and "segments" not in allowed_rooms("image_based")
    assert not any("image_based" in allowed_rooms(room) for room in SHARED | {"dataparsers"})


def test_the_package_itself_imports_nothing():
    assert imports(PACKAGE) == []


def test_dataparsers_lead_back_to_no_datamanager():
    todo = [module for module in modules() if room_of(module) == "dataparsers"]
    seen: set[str] = set()
    wrong = []
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        for name, line, in_function in imports(module):
            if in_function:
                continue
            if name in modules():
                todo.append(name)
            elif name.startswith("nerfstudio") and not f"{name}.".startswith(FOR_DATAPARSERS):
                wrong.append(f"{modules()[module].relative_to(ROOT)}:{line} imports {name}")
    assert not wrong
    assert f"{PACKAGE}.segments.masks" in seen


def test_optional_packages_are_imported_inside_functions_alone():
    wrong = [
        f"{modules()[module].relative_to(ROOT)}:{line} imports {name}"
        for module in modules()
        for name, line, in_function in imports(module)
        if not in_function and name.split(".")[0] in OPTIONAL
    ]
    assert not wrong


def test_the_command_line_starts_without_heavy_imports():
    """`nerfseg --help` reads the modules of all subcommands: none may import torch or nerfstudio at its top."""
    light = {f"{PACKAGE}.{room}" for room in ("errors", "files")}
    wrong = [
        f"{modules()[module].relative_to(ROOT)}:{line} imports {name}"
        for module in modules()
        if room_of(module) == "cli"
        for name, line, in_function in imports(module)
        if not in_function
        and (name.split(".")[0] in {"torch", "nerfstudio", "torchvision", "open3d"} or _is_heavy(name, light))
    ]
    assert not wrong


def _is_heavy(name: str, light: set[str]) -> bool:
    """Whether one of our modules brings torch or nerfstudio in at its top, itself or through what it imports."""
    if name not in modules() or name in light:
        return False
    return any(
        not entry.in_function
        and (
            entry.name.split(".")[0] in {"torch", "nerfstudio"} or (entry.name != name and _is_heavy(entry.name, light))
        )
        for entry in imports(name)
    )


def entry_points() -> list[tuple[str, str, str]]:
    """Group, name and `module:attribute` of what pyproject.toml offers nerfstudio."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [(group, name, target) for group, names in project["entry-points"].items() for name, target in names.items()]


HIDE = f"""
import importlib, importlib.abc, sys
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
for line in sys.argv[1:]:
    module, _, attribute = line.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    print("loaded", type(found).__name__, getattr(found.config, "method_name", ""))
"""


@pytest.mark.parametrize("module", sorted({target.partition(":")[0] for _, _, target in entry_points()}))
def test_entry_points_load_without_optional_packages(module: str):
    """In a fresh process; what fails to load here would end every ns-train, ours or not."""
    wanted = [entry for entry in entry_points() if entry[2].startswith(f"{module}:")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HIDE, *(target for _, _, target in wanted)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    said = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("loaded ")]
    kinds = {
        "nerfstudio.method_configs": "MethodSpecification",
        "nerfstudio.dataparser_configs": "DataParserSpecification",
    }
    for (group, name, _), words in zip(wanted, said, strict=True):
        assert words[0] == kinds[group]
        if group == "nerfstudio.method_configs":  # ns-train takes its own name for a method from the configuration
            assert words[1] == name
