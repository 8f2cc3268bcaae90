"""Prints the quick tests of what changed since the last commit, for `make check`: by their names and imports."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("python/ctmahout")
# What reads nearly everything at once takes minutes.
SLOW = {"test_fuzz.py", "test_inputs_page.py"}


def changed():
    """The files that differ from the last commit, those that git does not know yet among them."""
    commands = (["git", "diff", "--name-only", "HEAD"], ["git", "ls-files", "--others", "--exclude-standard"])
    told = [subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout for words in commands]
    return [Path(line) for line in "".join(told).splitlines()]


def tests_of(module, tests):
    """The tests that bear a module's name, as test_patches_passes.py does; else its importers, else its folder's."""
    *folders, name = module.relative_to(PACKAGE).with_suffix("").parts
    if name == "__init__":
        *folders, name = folders or ["ctmahout"]
    package = re.escape(".".join(["ctmahout", *folders]))
    imports = re.compile(rf"\b{package}\.{name}\b|from {package} import .*\b{name}\b")
    return (
        _named(tests, "_".join([*folders, name]), name)
        or [t for t in tests if imports.search(t.read_text())]
        or _named(tests, *folders[-1:])
    )


def _named(tests, *names):
    return [t for t in tests if any(re.fullmatch(f"test_{name}(_.*)?", t.stem) for name in names)]


def main():
    tests = [t for part in ("unit", "contract") for t in sorted((ROOT / "tests" / part).rglob("test_*.py"))]
    chosen = set()
    for path in changed():
        if path.suffix == ".py" and path.is_relative_to(PACKAGE):
            found = tests_of(path, tests)
            if not found:
                sys.stderr.write(f"no quick test is named after {path}, or imports it: `make test` for that\n")
            chosen |= set(found)
        elif ROOT / path in tests and (ROOT / path).exists():
            chosen.add(ROOT / path)
    sys.stdout.write(" ".join(sorted(str(t.relative_to(ROOT)) for t in chosen if t.name not in SLOW)) + "\n")


if __name__ == "__main__":
    main()
