"""The last line of `make test`."""

import json

import skipped


def test_it_says_how_many_why_and_what_brings_them(root, tmp_path, capsys):
    file = tmp_path / "skipped.jsonl"
    reasons = ["no real CT files at x", "not installed: chromium", "no real CT files at x"]
    file.write_text("".join(json.dumps(reason) + "\n" for reason in reasons))
    skipped.main(str(file))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "3 tests were skipped: 2 because of: no real CT files at x; 1 because of: not installed: chrom"
    )
    assert "tests/debian-packages.txt" in line
    assert (root / "tests" / "debian-packages.txt").exists()


def test_nothing_skipped_is_said_too(tmp_path, capsys):
    skipped.main(str(tmp_path / "none"))
    assert capsys.readouterr().out == "No test was skipped.\n"
