"""docs/inputs.md says what really happens, of every row."""

import re

from awkward import CASES
from inputs_page import ROWS, TOLD, outcomes, page


def test_the_page_of_awkward_inputs_is_true(root, real_ct, tmp_path):
    assert (root / "docs" / "inputs.md").read_text(encoding="utf-8") == page(outcomes(real_ct, tmp_path))


def test_every_row_has_a_case_and_a_test_of_its_number(root):
    files = [f for part in ("unit", "e2e") for f in (root / "tests" / part).rglob("test_*.py")]
    names = re.findall(r"^def (test_row_\w+)", "\n".join(f.read_text(encoding="utf-8") for f in files), re.MULTILINE)
    tested = {int(number) for name in names for number in re.findall(r"(?<=_)\d+(?=_)", name)}
    assert sorted(ROWS) == list(range(1, 56))
    assert {row for row, *_ in [*CASES, *TOLD]} == set(ROWS)
    assert set(ROWS) - tested == set()
