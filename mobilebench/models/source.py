"""Which code a network is made of: the definitions that its builder and its modules' classes reach, without comments.

Whole files would be too much (an edit to one network would change all networks of its file), the class alone too
little (the block it imports from beside it). Where a name leads to a whole module, or a module does something besides
defining, all of that counts: rather one training too many than an old accuracy under new code.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sysconfig
from functools import cache, lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WHOLE = "*"
PROGRAM = "mobilebench"
_AT_RUN_TIME = {"globals", "vars", "locals", "eval", "exec"}
_MODULES_AT_RUN_TIME = {"import_module", "__import__"}


class Place(NamedTuple):
    """A top-level definition of a module; the name WHOLE stands for all of the module."""

    module: str
    name: str


def source_digest(roots: Iterable[Place], packages: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Return the sha256 (hex) of all own code that the roots reach, free of its layout, and the packages it lies in.

    packages: dotted names whose code is own. So is that of any other package that is not installed among the site's
    packages; what lies outside is not followed. What a reached module imports runs too, so its decorated definitions
    (registries) and whatever else it does count. Code that looks names up at run time counts with its whole module, or
    package. Comments, docstrings and line breaks don't
    count. Of a module without Python source its file counts; one that cannot be found (typed in at a prompt) counts
    for nothing.
    """
    closure = _Closure(tuple(packages))
    for root in roots:
        closure.reach(root)
    lines = sorted(f"{place.module}:{place.name}:{text}" for place, text in closure.finish().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest(), closure.packages()


@cache
def _is_own(top: str) -> bool:
    """Return whether a package is neither Python's nor installed among the site's packages."""
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    if found is None or top == PROGRAM:
        return False
    places = [
        *(found.submodule_search_locations or ()),
        *([found.origin] if found.has_location and found.origin else []),
    ]
    library = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return bool(places) and not any(Path(place).resolve().is_relative_to(part) for place in places for part in library)


class _Closure:
    def __init__(self, packages: tuple[str, ...]) -> None:
        self._packages = packages
        self._modules: dict[str, _Module | None] = {}
        self._found: dict[Place, str] = {}
        self._seen: set[Place] = set()
        self._waiting: list[Place] = []

    def reach(self, place: Place) -> None:
        if self._is_inside(place.module):
            self._waiting.append(place)

    def finish(self) -> dict[Place, str]:
        while self._waiting:
            place = self._waiting.pop()
            module = self._module(place.module)
            if module is None:
                continue
            for name in module.names(place.name):
                self._take(module, Place(place.module, name))
        return self._found

    def _module(self, name: str) -> _Module | None:
        if name not in self._modules:
            self._modules[name] = module = _open(name)
            if "." in name:  # importing a module runs its packages first
                self.reach(Place(name.rpartition(".")[0], ""))
            for origin in module.origins() if module else ():  # and what it imports
                self.reach(Place(origin.module, ""))
                self.reach(Place(f"{origin.module}.{origin.name}", ""))
        return self._modules[name]

    def _take(self, module: _Module, place: Place) -> None:
        if place in self._seen:
            return
        self._seen.add(place)
        nodes = module.definitions.get(place.name)
        if nodes is None:  # imported there from elsewhere, or no Python at all
            if module.opaque:
                self._found[place] = module.opaque
            for origin in module.imports.get(place.name, ()):
                self._follow(origin)
            return
        self._found[place] = "".join(_form(node) for node in nodes)
        names = {name for node in nodes for name in _names(node)}
        for name in names:
            self.reach(Place(place.module, name))
        if names & _AT_RUN_TIME:
            self.reach(Place(place.module, WHOLE))
        # The program's own registry imports what a spec names, and that is among the roots. All of the program instead
        # would give every network another fingerprint with every edit to a report.
        if names & _MODULES_AT_RUN_TIME and place.module.partition(".")[0] != PROGRAM:
            self._found[Place(place.module.partition(".")[0], "files")] = _all_of(place.module.partition(".")[0])

    def _follow(self, origin: Place) -> None:
        """Reach an imported name: a definition, a module of the package, or whatever else the module makes of it."""
        if origin.name != WHOLE and self._is_inside(origin.module) and _locate(f"{origin.module}.{origin.name}"):
            origin = Place(f"{origin.module}.{origin.name}", WHOLE)
        module = self._module(origin.module) if self._is_inside(origin.module) else None
        if module is not None and not module.has(origin.name):
            origin = Place(origin.module, WHOLE)
        self.reach(origin)

    def packages(self) -> tuple[str, ...]:
        """Return the packages that code was found in, and those given."""
        tops = {name.partition(".")[0] for name, module in self._modules.items() if module is not None}
        given = {name.partition(".")[0] for name in self._packages}
        return tuple(sorted({*self._packages, *(tops - given)}))

    def _is_inside(self, module: str) -> bool:
        given = any(module == name or module.startswith(f"{name}.") for name in self._packages)
        return given or _is_own(module.partition(".")[0])


class _Module:
    """A parsed module: its definitions and imports by name; what else it does has the name ""."""

    def __init__(self, name: str, path: Path, content: bytes) -> None:
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, list[Place]] = {}
        self.opaque = ""
        try:
            tree = _without_docstrings(ast.parse(content))
        except (SyntaxError, ValueError):  # compiled, or edited at this moment
            self.opaque = hashlib.sha256(content).hexdigest()
            return
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for statement in tree.body:
            # What is imported for types alone never runs; its other branch does.
            parts = statement.orelse if isinstance(statement, ast.If) and _is_for_types(statement) else [statement]
            for part in parts:
                if not isinstance(part, ast.Pass):
                    self._read(part, package)

    def origins(self) -> list[Place]:
        """Return what is imported here, wherever in the module."""
        return [origin for origins in self.imports.values() for origin in origins]

    def has(self, name: str) -> bool:
        """Return whether a name is defined or imported here."""
        return name in self.definitions or name in self.imports

    def names(self, wanted: str) -> list[str]:
        """Return the names to take where one is wanted: itself, and what the module does whenever it is imported."""
        always = [name for name in ("", WHOLE) if name in self.definitions or name in self.imports]
        everything = [*self.definitions, *self.imports]
        return [*everything, *([] if everything else [WHOLE])] if wanted == WHOLE else [wanted, *always]

    def _read(self, statement: ast.stmt, package: str) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for name, origin in _imported(statement, package):
                self.imports.setdefault(name, []).append(origin)
        else:
            for name in (*_defined(statement), *([""] if _runs(statement) else [])):
                self.definitions.setdefault(name, []).append(statement)
            for inner in ast.walk(statement):  # imports within functions and conditions
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    self._read(inner, package)


def _open(name: str) -> _Module | None:
    path = _locate(name)
    return None if path is None else _parsed(name, path, path.read_bytes())


@lru_cache(maxsize=256)
def _parsed(name: str, path: Path, content: bytes) -> _Module:
    """Return a module that was read: of every network it is read anew, and parsed where its content is new."""
    return _Module(name, path, content)


def _locate(name: str) -> Path | None:
    """Return a module's file without importing anything, None where there is none."""
    top, *rest = name.split(".")
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # no such module, or one that has no spec: __main__
        return None
    if found is None:
        return None
    folders, path = [Path(folder) for folder in found.submodule_search_locations or ()], found.origin
    for part in rest:
        files = [folder / f"{part}{suffix}" for folder in folders for suffix in (".py", *EXTENSION_SUFFIXES)]
        folders = [folder / part for folder in folders if (folder / part).is_dir()]
        places = [*(folder / "__init__.py" for folder in folders), *files]
        path = next((str(place) for place in places if place.is_file()), None)
    return Path(path) if path is not None and Path(path).is_file() else None


def _defined(statement: ast.stmt) -> list[str]:
    """Return the names that a top-level statement gives, none for one that does something else."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    plain = all(isinstance(t, ast.Name | ast.Tuple | ast.List) for t in targets)
    return names if plain else []  # TABLE["a"] = ... changes what was defined before: it always counts


def _runs(statement: ast.stmt) -> bool:
    """Return whether a statement does something when its module is imported, besides giving names."""
    return not _defined(statement) or bool(getattr(statement, "decorator_list", ()))


def _all_of(package: str) -> str:
    """Return a digest of all of a package's Python files."""
    found = importlib.util.find_spec(package)
    folders = [Path(folder) for folder in (found.submodule_search_locations or ())] if found else []
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def _imported(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Place]]:
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            # `import a.b` gives the name a, and a.b is what is used of it
            yield alias.asname or alias.name.partition(".")[0], Place(alias.name, WHOLE)
        return
    above = package.split(".")[: len(package.split(".")) - statement.level + 1] if statement.level else []
    module = ".".join([*above, *([statement.module] if statement.module else [])])
    for alias in statement.names:
        yield (alias.asname or alias.name), Place(module, alias.name)


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute) and inner.attr in _MODULES_AT_RUN_TIME:
            yield inner.attr
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            yield from (name for name, _ in _imported(inner, ""))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [s for s in node.body if not _is_text(s)] or [ast.Pass()]
    return tree


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_for_types(statement: ast.stmt) -> bool:
    test = statement.test if isinstance(statement, ast.If) else None
    return "TYPE_CHECKING" in {getattr(test, "id", ""), getattr(test, "attr", "")}


def _form(value: object) -> str:
    """Return a syntax tree as text that is the same under every version of Python, unlike `ast.dump`."""
    if isinstance(value, ast.AST):
        parts = (f"{name}={_form(item)}" for name, item in ast.iter_fields(value) if item is not None and item != [])
        return f"{type(value).__name__}({','.join(parts)})"
    return f"[{','.join(map(_form, value))}]" if isinstance(value, list) else repr(value)
