"""The shape of the package in figures, and whether they are inside their bars.

    python tools/house.py            # prints a table; exit 1 when a figure is outside of its bar

`make check` runs it. :data:`LAYERS` is the one place that knows the layers;
`tests/test_layering.py` holds every import against it. Everything is read from the source text;
nothing is imported.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import gc
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "samedge"

# From the bottom up. A unit may import every unit of a lower layer, and nothing beside it.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "frozen", "_version"}),
    frozenset({"files"}),
    frozenset({"types"}),
    frozenset({"pixels", "records", "_discovery", "_cache"}),
    frozenset({"machine"}),
    frozenset({"bundle", "formats", "report"}),
    frozenset({"targets", "runtimes"}),
    frozenset({"predict", "tracking"}),
    # They drive a predictor, so they stand above it.
    frozenset({"benchmark", "inspection", "live"}),
    # ---- the device line: below it NumPy, Pillow and one backend
    frozenset({"evaluation", "models"}),
    frozenset({"proof", "web"}),
    frozenset({"calibration"}),
    frozenset({"distill", "export", "annotate", "lab"}),
    frozenset({"comparison"}),
    frozenset({"cli"}),
)
DEVICE_LAYERS = 8

EXCEPTIONS: Mapping[tuple[str, str], str] = {}
"""Edges that go up or sideways, each with its reason: three at most, none that is not used."""

SCRIPTS = ("tools", "benchmarks", "deploy")
"""Beside the package: their calls count as uses of it. They and the tests keep to its lengths."""

ROOT_MODULES, FILE_LINES, FUNCTION_LINES = 8, 400, 60
MEDIAN_LINES, P90_LINES = 8, 23
LOOSE_DICTS, LAYER_EXCEPTIONS = 40, 3
POSITIONAL = 2
_LONGEST_NAMING = 80  # longer strings are sentences

# Torch's modules are called by position, and so are MIL's operations, by their own names, and
# CVAT's functions by CVAT.
_ROOMS = ("models.", "runtimes.mil.", "export.coreml.", "web.cvat")
_POSITIONAL_FREE = tuple(f"samedge.{room}" for room in _ROOMS)
# Methods whose signature is a library's: torch's modules, click's types, TensorRT's listeners.
_CALLED_BY_LIBRARIES = frozenset({"forward", "convert", "main", "phase_start", "phase_finish"})
# Called by a library, or by the contract tests of every plug-in.
_CALLED_FROM_OUTSIDE: frozenset[str] = frozenset().union(
    {"do_GET", "do_HEAD", "log_message", "get_command", "format_commands", "get_next"},
    {"step_complete", "hook_folders", "tiny", "write_example", "encoder_names", "decoder_names"},
    {"preprocess_image", "init_tracking_state"},  # CVAT's
    {"media_type", "ragged_batches"},  # FiftyOne's
    {"send_400_response", "capture_signals"},  # uvicorn's
    {"capture_pid"},  # for whoever has to end a capture from outside
)
_NAMED_BY_STRING = re.compile(r"samedge(\.\w+)+(:\w+)?")


@dataclasses.dataclass(frozen=True)
class Module:
    """One file of the package.

    Attributes:
        name: dotted.
        path: of the file.
        tree: its syntax.
        lines: how many it has.
    """

    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def unit(self) -> str:
        """``samedge.runtimes._torch`` belongs to ``runtimes``; the package itself to none."""
        return unit(self.name)


def unit(dotted: str) -> str:
    """The room or root module that a dotted name lies in."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


@functools.cache
def modules(package: Path = PACKAGE) -> tuple[Module, ...]:
    """Every module of a package, by name; read once."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        text = path.read_text(encoding="utf-8")
        found.append(Module(".".join(parts), path, ast.parse(text), text.count("\n")))
    return tuple(found)


@functools.cache
def walk(tree: ast.AST) -> tuple[ast.AST, ...]:
    """All nodes of a tree, found once: every figure asks for them."""
    return tuple(ast.walk(tree))


_IMPORTS = (ast.Import, ast.ImportFrom, ast.Constant)


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports anywhere in it, or names in a string to import later.

    Imports inside functions and under ``TYPE_CHECKING`` count: what a module names, it depends on.
    """
    for node in walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the edge: write the full name"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and _NAMED_BY_STRING.fullmatch(str(node.value)):
            yield str(node.value).partition(":")[0]


def layer(name: str) -> int:
    """Index of a unit's layer."""
    for index, names in enumerate(LAYERS):
        if name in names:
            return index
    raise AssertionError(f"samedge.{name} is in no layer: add it to LAYERS in tools/house.py")


def upward_edges(found: Sequence[Module]) -> dict[tuple[str, str], list[str]]:
    """Imports that go up or sideways, by units; each as ``module imports samedge.unit``."""
    units = {module.unit for module in found} - {""}
    edges: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module in found:
        if module.unit in ("", "__main__"):  # the lazy public names; the entry point
            continue
        for imported in imports(module.tree):
            target = unit(imported)
            if not imported.startswith("samedge.") or target not in units - {module.unit}:
                continue
            if layer(target) >= layer(module.unit):
                edge = f"{module.name} imports samedge.{target}"
                edges[module.unit, target].add(edge)
    return {edge: sorted(texts) for edge, texts in sorted(edges.items())}


def circles(found: Iterable[Module]) -> list[list[str]]:
    """Groups of modules that import one another, directly or by way of others (Tarjan 1972)."""
    trees = {module.name: module.tree for module in found}
    graph = {name: _targets(name, tree, trees) for name, tree in trees.items()}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            start = stack.index(name)
            group = sorted(stack[start:])
            del stack[start:]
            if len(group) > 1:
                groups.append(group)

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return sorted(groups)


def _targets(name: str, tree: ast.Module, trees: Mapping[str, ast.Module]) -> set[str]:
    """Modules that one module imports: the deepest that each name leads to."""
    found = set()
    for node in walk(tree):
        named = set(imports(node)) if isinstance(node, _IMPORTS) else set()
        known = {target for target in named if target in trees}
        if isinstance(node, ast.Constant):  # a room that lists its own plug-ins names itself
            known = {target for target in known if not name.startswith(f"{target}.")}
        # ``from samedge.export import base`` names a module of the package, not the package.
        found |= {t for t in known if not any(other.startswith(f"{t}.") for other in known)}
    return found - {name, PACKAGE.name}


def functions(found: Iterable[Module]) -> Iterator[tuple[Module, ast.FunctionDef]]:
    """Every function and method."""
    for module in found:
        for node in walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield module, node  # type: ignore[misc]


def function_lines(node: ast.FunctionDef) -> int:
    """Lines of a function with its signature, without its docstring."""
    whole = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is None:
        return whole
    text = node.body[0]
    return whole - ((text.end_lineno or text.lineno) - text.lineno + 1)


def too_positional(module: Module, node: ast.FunctionDef) -> bool:
    """Whether a public function takes more arguments by position than it may."""
    if node.name.startswith("_") or module.name.startswith(_POSITIONAL_FREE):
        return False
    if node.name in _CALLED_BY_LIBRARIES:
        return False
    if any("overload" in ast.dump(decorator) for decorator in node.decorator_list):
        return False
    arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
    return len([a for a in arguments if a not in ("self", "cls")]) > POSITIONAL


def undocumented(module: Module) -> Iterator[str]:
    """Public functions, methods and classes without a docstring or without types."""
    for name, node in _public(module.tree.body, module.name):
        if ast.get_docstring(node) is None:
            yield f"{name} has no docstring"
        if getattr(node, "returns", node) is None:
            yield f"{name} has no types"


def _public(body: Iterable[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_") or any(
            "overload" in ast.dump(decorator) for decorator in node.decorator_list
        ):
            continue
        yield f"{prefix}.{node.name}", node  # type: ignore[misc]
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body, f"{prefix}.{node.name}")


def uncalled(found: Sequence[Module], callers: Iterable[ast.AST], *, words: str) -> list[str]:
    """Functions and classes that nothing names but tests.

    Args:
        found: the package's modules.
        callers: other code that counts, such as the maintainers' scripts.
        words: the documentation; what it names is for users to call.
    """
    for_users = _methods_of_public_classes(found)
    named: Counter[str] = Counter(re.findall(r"\w+", words))
    for tree in (*(module.tree for module in found), *callers):
        named.update(_names(tree))
    return [
        f"{module.name}.{node.name}"
        for module in found
        for node in walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not (node.name.startswith("__") or named[node.name])
        and node.name not in _CALLED_FROM_OUTSIDE | for_users
    ]


def _methods_of_public_classes(found: Sequence[Module]) -> set[str]:
    """Methods of the classes that the package itself names: users call them."""
    public = {name for m in found if m.name == PACKAGE.name for name in _names(m.tree)}
    return {
        method.name
        for module in found
        for node in walk(module.tree)
        if isinstance(node, ast.ClassDef) and node.name in public
        for method in node.body
        if isinstance(method, ast.FunctionDef)
    }


def _names(tree: ast.AST) -> Iterator[str]:
    """What a module uses by name, also within a string; an import alone is no use."""
    for node in walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"\w+", node.value) if len(node.value) < _LONGEST_NAMING else ()


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure and its bar.

    Attributes:
        name: what is counted.
        value: how much.
        bar: the most that it may be.
        where: the places to look at.
    """

    name: str
    value: float
    bar: float
    where: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether the figure is inside its bar."""
        return self.value <= self.bar


def figures(package: Path = PACKAGE) -> list[Figure]:
    """All figures of a package."""
    found = modules(package)
    scripts, tests = _beside(package.parent, *SCRIPTS), _beside(package.parent, "tests")
    whole = [*found, *scripts, *tests]
    lengths = sorted(function_lines(node) for _, node in functions(found))
    roots = [m.name for m in found if m.path.parent == package and not m.path.name.startswith("__")]
    long_files = [f"{m.name} ({m.lines})" for m in whole if m.lines > FILE_LINES]
    too_long = [
        f"{m.name}.{node.name} ({function_lines(node)})"
        for m, node in functions(whole)
        if function_lines(node) > FUNCTION_LINES
    ]
    positional = [f"{m.name}.{n.name}" for m, n in functions(found) if too_positional(m, n)]
    loose = [m.name for m in found for _ in range(_loose_dicts(m.tree))]
    bare = [text for m in found for text in undocumented(m)]
    rings = [" <-> ".join(group) for group in circles(found)]
    edges = [f"{a} -> {b}" for a, b in upward_edges(found)]
    unused = uncalled(found, [s.tree for s in scripts], words=_documentation(package.parent))
    return [
        Figure("modules at the root", len(roots), ROOT_MODULES, tuple(roots)),
        Figure("median lines of a function", statistics.median(lengths), MEDIAN_LINES),
        Figure("90% of functions are within", lengths[int(0.9 * len(lengths))], P90_LINES),
        Figure(f"files over {FILE_LINES} lines", len(long_files), 0, tuple(long_files)),
        Figure(f"functions over {FUNCTION_LINES} lines", len(too_long), 0, tuple(too_long)),
        Figure("circles of imports", len(rings), 0, tuple(rings)),
        Figure("imports against the layers", len(edges), LAYER_EXCEPTIONS, tuple(edges)),
        Figure("dict[str, Any]", len(loose), LOOSE_DICTS - 1, tuple(sorted(set(loose)))),
        Figure("more than two by position", len(positional), 0, tuple(positional)),
        Figure("public without types or words", len(bare), 0, tuple(bare)),
        Figure("called by tests alone", len(unused), 0, tuple(unused)),
    ]


def _beside(root: Path, *folders: str) -> list[Module]:
    """Every file of folders beside the package, named by its path."""
    found = []
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        found.append(Module(name, path, ast.parse(text), text.count("\n")))
    return found


def _documentation(root: Path) -> str:
    pages = [*sorted((root / "docs").rglob("*.md")), root / "README.md"]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages if page.exists())


def _loose_dicts(tree: ast.Module) -> int:
    """How often ``dict[str, Any]`` stands in a module as a type."""
    return sum(
        isinstance(node, ast.Subscript) and ast.unparse(node) == "dict[str, Any]"
        for node in walk(tree)
    )


def main() -> int:
    """Print the figures; 1 when one is outside of its bar."""
    for figure in (rows := figures()):
        line = f"{figure.name:<32} {figure.value:>6g}   at most {figure.bar:g}"
        print("ok " if figure.held else "BAD", line, sep="  ")
        if not figure.held:
            print("".join(f"       {place}\n" for place in figure.where), end="")
    return 0 if all(figure.held for figure in rows) else 1


if __name__ == "__main__":
    gc.disable()  # a million nodes that stay: looking through them takes half of the time
    sys.exit(main())
