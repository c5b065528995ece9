"""One word for one thing, in what people read and in names; the first lines of ARCHITECTURE.md list most words.

Read are the prose of documents, without code, and docstrings, comments and the names that the code gives. Texts of the
code are not: keys of configs and formats, and the names of other projects, stay as they are.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FOLDERS = ("pnol_jax", "serving", "experiments", "benchmarks", "tests", "docs")
GENERATED = "inference_pb2"
NOTHING = r"(?!)"


class Word(NamedTuple):
    """What is not said, what is said for it, of which names it holds too, and in which folder."""

    not_this: str
    but: str
    names: str = NOTHING
    folder: str = ""


WORDS = (
    Word(r"(?<![-.\w])optimizers?\b(?![.\w])", "optimiser; `optimizer` is the key, and so the name in code"),
    Word(r"\bcent(er|ers|ered)\b", "centre", r"center"),
    Word(r"\b(non-?uniform|unequally spaced|points that are not uniform)\b", "not equally spaced"),
    Word(r"\b(artifact|artefact)s?\b", "servable"),
    Word(r"\btraining (set|data)\b", "training cases"),
    Word(r"\bsamples?\b", "pair: samples are draws, cases are rows", r"samples?(?![a-z])", "pnol_jax/data/"),
    Word(r"\b(single|double|half)[- ]precision\b", "float32, float64, 16 bits"),
    Word(r"\bper cent\b", "%"),
    Word(NOTHING, "config", r"configuration|cfg"),
)


def without_code(text: str) -> str:
    """The text with its code blocks and spans blank, line by line where it was."""
    return re.sub(r"```.*?```|`[^`]*`", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL)


def prose(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Lines that people read, with their numbers."""
    if path.endswith(".md"):
        yield from enumerate(without_code(text).splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], without_code(token.string)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            described = ast.get_docstring(node, clean=False)
            if described is not None:
                yield from enumerate(without_code(described).splitlines(), node.body[0].lineno)


def names(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Names that the code gives, with the numbers of their lines."""
    for node in ast.walk(ast.parse(text)) if path.endswith(".py") else ():
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr


def said(path: str, text: str) -> list[str]:
    """What the table does not have said, as file:line and what to say."""
    read, given = list(prose(path, text)), list(names(path, text))
    found = [
        (line, match[0], word.but)
        for word in WORDS
        if path.startswith(word.folder)
        for pattern, lines in ((word.not_this, read), (word.names, given))
        for line, text in lines
        if (match := re.search(pattern, text, re.IGNORECASE))
    ]
    return [f"{path}:{line} {what!r}: {but}" for line, what, but in sorted(found)]


def test_one_word_for_one_thing() -> None:
    paths = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.*")))]
    texts = {str(path.relative_to(ROOT)): path for path in paths if path.suffix in (".py", ".md")}
    found = [line for name, path in texts.items() if GENERATED not in name for line in said(name, path.read_text())]
    assert found == []


CODE = """# the optimizer
def f(center):
    'Its optimizer.final_ratio.

    Half precision.
    '
    x = "center"
"""


def test_words_are_found_where_people_read() -> None:
    found = said("a.py", CODE.replace("'", '"' * 3))
    assert [line.split()[0] for line in found] == ["a.py:1", "a.py:2", "a.py:5"]
    assert said("a.md", "`optimizer`\n```\noptimizer\n```\nan optimizer\n") == [f"a.md:5 'optimizer': {WORDS[0].but}"]
    assert said("pnol_jax/data/a.py", "samples = 1\n")
    assert not said("pnol_jax/a.py", "samples = 1\n")
