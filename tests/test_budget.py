"""Files and functions stay short enough to be read at once; what may be longer stands here by name, with its reason."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
PACKAGES = ("pnol_jax", "serving", "experiments")
FILE, USUAL_FILE = 250, 130
FUNCTION, USUAL_FUNCTION = 40, 9  # lines without the docstring
TEST_FILE = 400

# By path, and by path and name. What is no longer over its budget must go from here.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS = {
    "pnol_jax/servable/write.py write_servable": "a line for each argument, and one for each field of the manifest",
}


def sources(*folders: str) -> dict[str, str]:
    paths = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def functions(texts: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Path and name of each function, inner ones too, and its lines without the docstring."""
    for path, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                described = ast.get_docstring(node) is not None
                yield f"{path} {node.name}", lines_of(node) - described * lines_of(node.body[0])


def lines_of(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_files() -> None:
    lengths = {path: len(text.splitlines()) for path, text in sources(*PACKAGES).items()}
    assert {path for path, length in lengths.items() if length > FILE} == set(LONG_FILES)
    assert median(lengths.values()) <= USUAL_FILE


def test_functions() -> None:
    lengths = list(functions(sources(*PACKAGES)))
    assert {name for name, length in lengths if length > FUNCTION} == set(LONG_FUNCTIONS)
    assert median(length for _, length in lengths) <= USUAL_FUNCTION


def test_tests() -> None:
    assert [path for path, text in sources("tests").items() if len(text.splitlines()) > TEST_FILE] == []


def test_lines_are_counted_without_the_docstring() -> None:
    text = 'def outer():\n    """One.\n\n    Two.\n    """\n    def inner():\n        return 1\n    return inner\n'
    assert dict(functions({"file.py": text})) == {"file.py outer": 4, "file.py inner": 2}
