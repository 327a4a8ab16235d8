"""Imports go one way, as CONTRIBUTING.md says; a step back up shows as a failing file here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "tabular_automl"

# Layers from the bottom up. A part may import parts of lower layers, and itself.
LAYERS = [
    {"core"},
    {"artifacts", "metrics", "data"},
    {"encoders", "models"},
    {"ensemble", "search"},
    {
        *("config", "fitted", "intake", "shape", "spec_choice", "plan"),
        *("learned_rows", "learned_features", "pipeline"),
    },
    {"saving"},
    {"vetting"},
    {"inspection", "deployment"},
    {"facts"},
    {"answers"},
    {"predictor"},
    {"demo", "sklearn"},
    {"actions"},
    {"cli"},
]
# Parts of one layer that may see each other, in this direction only.
BESIDE = {
    ("metrics", "data"),
    ("data", "artifacts"),  # the label codec saves itself as a State
    ("data", "artifacts"),
    ("plan", "ensemble"),
    ("plan", "config"),
    ("plan", "shape"),
    ("plan", "spec_choice"),
    ("spec_choice", "config"),
    ("spec_choice", "shape"),
    ("pipeline", "shape"),
    ("pipeline", "spec_choice"),
    ("intake", "config"),
    ("learned_rows", "config"),
    ("learned_rows", "intake"),
    ("learned_rows", "plan"),
    ("learned_features", "config"),
    ("learned_features", "intake"),
    ("learned_features", "learned_rows"),
    ("pipeline", "learned_features"),
    ("pipeline", "learned_rows"),
    ("pipeline", "config"),
    ("pipeline", "fitted"),
    ("pipeline", "intake"),
    ("pipeline", "plan"),
    ("ensemble", "search"),
}
# What users and plug-ins import; only the command line and the demo, users too, may lean on it.
SURFACE = {"", "extend"}
# What the files of models/ may share; everything else there is a family of its own.
SHARED_BY_MODELS = {
    *(
        "base",
        "dense",
        "boosting",
        "quick_boosting",
        "pairs",
        "stored_trees",
        "contract",
        "rows_in_time",
    ),
}
FAMILIES = {
    "lightgbm",
    "xgboost",
    "catboost",
    "forest",
    "linear",
    "neighbors",
    "neural",
    "prior",
}
PUBLIC = {LIBRARY, f"{LIBRARY}.extend"}


def layer_of(part: str) -> int:
    levels = [level for level, parts in enumerate(LAYERS) if part in parts]
    assert levels, f"{part!r} is in no layer; give it its place in LAYERS"
    return levels[0]


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Yield every imported module, wherever in the file; names of packages count as modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (resolve(node.module or "", alias.name) for alias in node.names)


def resolve(module: str, name: str) -> str:
    """Return the submodule meant by ``from module import name``, or the module itself."""
    inside = ROOT.joinpath(*module.split("."), name)
    return f"{module}.{name}" if inside.is_dir() or inside.with_suffix(".py").exists() else module


def part_of(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == LIBRARY


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of_file(path: Path) -> str:
    return path.relative_to(ROOT / LIBRARY).parts[0].removesuffix(".py")


INSIDE = [path for path in files_of(LIBRARY) if part_of_file(path) not in {"__init__", "extend"}]


@pytest.mark.parametrize("path", INSIDE, ids=named)
def test_library_imports_point_down(path):
    part = part_of_file(path)
    for module in filter(is_ours, imports_of(path)):
        other = part_of(module)
        if other == part or (part, other) in {*BESIDE, ("actions", ""), ("cli", ""), ("demo", "")}:
            continue
        assert other not in SURFACE, f"{named(path)} imports the public surface ({module})"
        assert layer_of(other) < layer_of(part), f"{named(path)} imports {module}, which is above"


@pytest.mark.parametrize("path", files_of(f"{LIBRARY}/models"), ids=named)
def test_model_families_do_not_import_each_other(path):
    family = path.stem.partition("_")[0]  # a family may be split over neural.py, neural_*.py
    for module in filter(is_ours, imports_of(path)):
        if part_of(module) != "models" or path.stem in {"portfolio", "contract"}:
            continue
        other = module.split(".")[2] if module.count(".") > 1 else "base"
        allowed = other in SHARED_BY_MODELS or other.startswith(f"{family}_")
        assert allowed, f"{named(path)} imports {module}; families share models/base.py only"


def test_every_family_has_its_file():
    present = {path.stem for path in files_of(f"{LIBRARY}/models")}
    assert present >= FAMILIES


@pytest.mark.parametrize("package", ["vision_ext", "text_ext"])
def test_extensions_import_the_plug_in_surface_only(package):
    for path in files_of(package):
        for module in filter(is_ours, imports_of(path)):
            assert module == f"{LIBRARY}.extend", f"{named(path)} imports {module}"


def test_benchmarks_import_public_names_only():
    for path in files_of("benchmarks"):
        for module in filter(is_ours, imports_of(path)):
            assert module in PUBLIC, f"{named(path)} imports {module}"


@pytest.mark.parametrize("package", [LIBRARY, "vision_ext", "text_ext"])
def test_library_does_not_import_tests_benchmarks_or_extensions(package):
    others = {"tests", "benchmarks", "vision_ext", "text_ext"} - {package}
    for path in files_of(package):
        roots = {module.partition(".")[0] for module in imports_of(path)}
        assert not roots & others, f"{named(path)} imports {sorted(roots & others)}"


def catches_everything(node: ast.AST) -> bool:
    return isinstance(node, ast.ExceptHandler) and (
        node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
    )


def test_every_exception_is_caught_only_where_it_becomes_a_row_a_note_or_a_reason():
    trees = {named(path): ast.parse(path.read_text()) for path in files_of(LIBRARY)}
    places = [n for n, tree in trees.items() for node in ast.walk(tree) if catches_everything(node)]
    allowed = [
        *("deployment/fast_bags.py", "ensemble/layer.py"),
        *("ensemble/refitting.py", "ensemble/resuming.py"),
    ]
    assert sorted(places) == [f"{LIBRARY}/{name}" for name in allowed]


RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}


@pytest.mark.parametrize("package", [LIBRARY, "vision_ext", "text_ext"])
def test_nothing_runs_code_from_data(package):
    for path in files_of(package):
        assert not RUNS_CODE & {m.partition(".")[0] for m in imports_of(path)}, named(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec"}, f"{named(path)}:{node.lineno}"


@pytest.mark.parametrize("package", [LIBRARY, "vision_ext", "text_ext"])
def test_no_clock_is_read_that_can_be_set(package):
    """Budgets and measured seconds are of `time.monotonic`, which no administrator can move."""
    for path in files_of(package):
        assert not {"time.time", "time.time_ns"} & set(names_read(path)), named(path)


def names_read(path: Path) -> Iterator[str]:
    """Yield what a file reads of modules, as "module.name", however it was imported."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
