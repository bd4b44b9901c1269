"""Hold the layout: arrows between rooms run one way, a module stays short, a name means one thing."""

import ast
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parents[1] / "prefix_rft_trl"
MAX_ROOT_FILES = 8
MAX_LINES = defaultdict(lambda: 400, trainer=260)
HOMES = {"PrefixGRPOConfig": "config", "PrefixGRPOTrainer": "trainer"}  # what the package's front passes on
MAY_NOT_IMPORT = [("evaluation", "comparison"), ("comparison", "evaluation")]
LIBRARIES_OF_METHOD = sys.stdlib_module_names | {"numpy", "torch"}
LIBRARIES_FOR_TYPES = {"transformers", "datasets"}
OPEN_BYTES = ("os", "gzip")
TEXT_METHODS = {"open": 0, "read_text": 1, "write_text": 2}  # and how many arguments give an encoding


@dataclass(frozen=True)
class Import:
    """An imported name: below this package (`models.sources`, `is_own`), or a library's first name."""

    name: str
    is_own: bool
    for_types: bool

    @property
    def room(self) -> str:
        first = self.name.partition(".")[0]
        return HOMES.get(first, first)


@dataclass(frozen=True)
class Module:
    """A file of the package by its name below it: `cli.data`; a package's front has the name of the package."""

    name: str
    is_front: bool
    lines: int
    classes: tuple[str, ...]
    imports: tuple[Import, ...]
    in_encoding_of_locale: tuple[str, ...]

    @property
    def room(self) -> str:
        """A module of the root is a room of its own."""
        return self.name.partition(".")[0]

    @property
    def own_imports(self) -> Iterator[Import]:
        return (imported for imported in self.imports if imported.is_own)


def read_package(package: Path) -> list[Module]:
    return [read_module(file, package) for file in sorted(package.rglob("*.py"))]


def read_module(file: Path, package: Path) -> Module:
    parts = file.relative_to(package).with_suffix("").parts
    text = file.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    for_types = {
        part
        for node in nodes
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for part in ast.walk(statement)
    }
    return Module(
        ".".join(part for part in parts if part != "__init__"),
        parts[-1] == "__init__",
        len(text.splitlines()),
        tuple(node.name for node in nodes if isinstance(node, ast.ClassDef)),
        tuple(
            Import(name, is_own, node in for_types)
            for node in nodes
            for name, is_own in imported_names(node, parts[:-1], package.name)
        ),
        tuple(ast.unparse(node) for node in nodes if isinstance(node, ast.Call) and leaves_encoding_open(node)),
    )


def leaves_encoding_open(call: ast.Call) -> bool:
    """Whether text is read or written in the encoding that the locale of a machine happens to have."""
    is_function = isinstance(call.func, ast.Name)
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name not in TEXT_METHODS or any(key.arg == "encoding" for key in call.keywords):
        return False
    if name == "open":
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in OPEN_BYTES:
            return False
        return not any(isinstance(given, ast.Constant) and "b" in str(given.value) for given in call.args)
    return not is_function and len(call.args) < TEXT_METHODS[name]


def imported_names(node: ast.AST, folder: tuple[str, ...], package: str) -> Iterator[tuple[str, bool]]:
    names: list[list[str]] = []
    if isinstance(node, ast.Import):
        names = [alias.name.split(".") for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = [package, *folder[: len(folder) + 1 - node.level]] if node.level else []
        names = [[*base, *(node.module or "").split("."), alias.name] for alias in node.names]
    for name in names:
        first, *rest = filter(None, name)
        yield (".".join(rest), True) if first == package else (first, False)


# Rules. Each lists the violations.


def the_root_has_few_files(modules: list[Module]) -> list[str]:
    root = [module.name or "__init__" for module in modules if "." not in module.name]
    root = [name for name in root if not any(module.name == name and module.is_front for module in modules)]
    return [f"{len(root)} files: {', '.join(root)}"] if len(root) > MAX_ROOT_FILES else []


def modules_are_short(modules: list[Module]) -> list[str]:
    long = [module for module in modules if module.lines > MAX_LINES[module.name]]
    return [f"{module.name}: {module.lines} lines, at most {MAX_LINES[module.name]}" for module in long]


def modules_have_names_of_their_own(modules: list[Module]) -> list[str]:
    names = [module.name for module in modules if not module.is_front]
    return repeated((name.rpartition(".")[2], name) for name in names)


def classes_have_names_of_their_own(modules: list[Module]) -> list[str]:
    return repeated((name, module.name) for module in modules for name in module.classes)


def repeated(names_and_places: Iterable[tuple[str, str]]) -> list[str]:
    places = defaultdict(list)
    for name, place in names_and_places:
        places[name].append(place)
    return [f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1]


def method_is_pure(modules: list[Module]) -> list[str]:
    def is_allowed(imported: Import) -> bool:
        allowed = LIBRARIES_OF_METHOD | (LIBRARIES_FOR_TYPES if imported.for_types else set())
        return imported.room == "method" if imported.is_own else imported.name in allowed

    of_method = [module for module in modules if module.room == "method"]
    return violations(of_method, lambda _, imported: not is_allowed(imported))


def utils_import_utils_alone(modules: list[Module]) -> list[str]:
    of_utils = [module for module in modules if module.room == "utils"]
    return violations(of_utils, lambda _, imported: imported.is_own and imported.room != "utils")


def only_the_cli_imports_the_cli(modules: list[Module]) -> list[str]:
    others = [module for module in modules if module.room != "cli"]
    return violations(others, lambda _, imported: imported.is_own and imported.room == "cli")


def evaluation_and_comparison_are_strangers(modules: list[Module]) -> list[str]:
    return violations(
        modules, lambda module, imported: imported.is_own and (module.room, imported.room) in MAY_NOT_IMPORT
    )


def text_has_an_encoding(modules: list[Module]) -> list[str]:
    return [f"{module.name}: {call}" for module in modules for call in module.in_encoding_of_locale]


def violations(modules: list[Module], is_forbidden: Callable[[Module, Import], bool]) -> list[str]:
    pairs = ((module, imported) for module in modules for imported in module.imports)
    return [f"{module.name} imports {imported.name}" for module, imported in pairs if is_forbidden(module, imported)]


def arrows_run_one_way(modules: list[Module]) -> list[str]:
    """The lab's front does not count: any room may offer the lab's dataset and model by name."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        for imported in module.own_imports:
            counts = module.name and imported.name != "lab" and not imported.for_types
            if counts and imported.room != module.room:
                graph[module.room].add(imported.room)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


RULES = [
    the_root_has_few_files,
    modules_are_short,
    modules_have_names_of_their_own,
    classes_have_names_of_their_own,
    method_is_pure,
    utils_import_utils_alone,
    only_the_cli_imports_the_cli,
    evaluation_and_comparison_are_strangers,
    arrows_run_one_way,
    text_has_an_encoding,
]


@pytest.fixture(scope="module")
def package() -> list[Module]:
    return read_package(PACKAGE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule, package):
    assert rule(package) == []


# That each rule can fail, on packages of a few lines

ALLOWED = {
    "__init__.py": "from .trainer import PrefixGRPOTrainer\n",
    "trainer.py": "import trl\nfrom . import config\nfrom .method.loss import weigh\n" + "\n" * 257,
    "config.py": "class Config: ...\n",
    "method/loss.py": "import math, torch\nfrom typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    from transformers import Model\n",
    "method/demonstrations.py": "from .loss import weigh\n",
    "utils/files.py": "from .lazy import lazy_front\nclass File: ...\n"
    "a.read_text('utf-8'); a.write_text(b, encoding='utf-8'); a.open('rb'); open(a, 'wb'); read_text(row)\n",
    "data/loading.py": "from .. import lab\n" + "\n" * 399,
    "lab/task.py": "from ..data import loading\n",
    "cli/data.py": "from ..data.loading import load\nfrom .main import main\n",
}
BROKEN = [
    (
        the_root_has_few_files,
        {f"{name}.py": "" for name in "abcdef"},
        "9 files: __init__, a, b, c, config, d, e, f, trainer",
    ),
    (modules_are_short, {"trainer.py": "\n" * 261}, "trainer: 261 lines, at most 260"),
    (modules_are_short, {"cli/data.py": "\n" * 401}, "cli.data: 401 lines, at most 400"),
    (modules_have_names_of_their_own, {"lab/loading.py": ""}, "loading: data.loading, lab.loading"),
    (classes_have_names_of_their_own, {"lab/task.py": "class File: ..."}, "File: lab.task, utils.files"),
    (method_is_pure, {"method/loss.py": "from ..config import Config"}, "method.loss imports config.Config"),
    (method_is_pure, {"method/loss.py": "from .. import config"}, "method.loss imports config"),
    (method_is_pure, {"method/loss.py": "import PACKAGE.utils.files"}, "method.loss imports utils.files"),
    (method_is_pure, {"method/loss.py": "from transformers.trainer import T"}, "method.loss imports transformers"),
    (method_is_pure, {"method/loss.py": "def f():\n    import tqdm"}, "method.loss imports tqdm"),
    (utils_import_utils_alone, {"utils/files.py": "from ..config import C"}, "utils.files imports config.C"),
    (only_the_cli_imports_the_cli, {"lab/task.py": "from ..cli import main"}, "lab.task imports cli.main"),
    (
        evaluation_and_comparison_are_strangers,
        {"evaluation/scores.py": "def f():\n    from ..comparison.page import g"},
        "evaluation.scores imports comparison.page.g",
    ),
    (
        evaluation_and_comparison_are_strangers,
        {"comparison/a.py": "from ..evaluation import b"},
        "comparison.a imports",
    ),
    (text_has_an_encoding, {"utils/a.py": "file.read_text()"}, "utils.a: file.read_text()"),
    (text_has_an_encoding, {"utils/a.py": "file.write_text('a')"}, "utils.a: file.write_text('a')"),
    (text_has_an_encoding, {"utils/a.py": "open(file)"}, "utils.a: open(file)"),
    (text_has_an_encoding, {"utils/a.py": "file.open('w')"}, "utils.a: file.open('w')"),
    (arrows_run_one_way, {"config.py": "from .trainer import T"}, "config <- trainer <- config"),
    (arrows_run_one_way, {"data/loading.py": "def f():\n    from ..lab.task import T"}, "data <- lab <- data"),
    (arrows_run_one_way, {"method/loss.py": "from .. import PrefixGRPOTrainer"}, "method <- trainer <- method"),
]


@pytest.fixture
def write_package(tmp_path) -> Callable[[dict[str, str]], list[Module]]:
    def write(files: dict[str, str]) -> list[Module]:
        for name, text in {**ALLOWED, **files}.items():
            file = tmp_path / "package" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("PACKAGE", "package"))
        return read_package(tmp_path / "package")

    return write


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_allows_what_it_should(rule, write_package):
    assert rule(write_package({})) == []


@pytest.mark.parametrize(("rule", "files", "violation"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_rule_finds_what_breaks_it(rule, files, violation, write_package):
    (found,) = rule(write_package(files))
    assert violation in found
