"""Names are nouns of the field: participles and fillers say nothing of what they name."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "python" / "ctmahout"
BANNED = {
    "found", "made", "told", "tell", "telling", "given", "said", "shown", "how", "own", "ours", "theirs", "mine",
    "everyone", "nobody", "knee", "leak", "ease", "everything", "something", "thing",
}  # fmt: skip


# The key of `ctmahout doctor --json`.
KEYS = {("workflows/doctor.py", "found")}


def bound_names(tree):
    """Names that a module binds: variables, parameters, functions, classes, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def test_no_name_is_a_filler():
    banned = [
        f"{path.relative_to(PACKAGE)}:{line} {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, line in bound_names(ast.parse(path.read_text(encoding="utf-8")))
        if name.strip("_").lower() in BANNED and (str(path.relative_to(PACKAGE)), name) not in KEYS
    ]
    assert banned == []
