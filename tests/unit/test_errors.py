import ast
import pickle
import re
from pathlib import Path

import pytest

from ctmahout import cli
from ctmahout.errors import CtmahoutError, InputError, catalogue, from_text


@pytest.mark.parametrize("code", catalogue())
def test_every_entry_makes_an_error_that_says_what_and_what_next(code):
    error = CtmahoutError(code)
    assert type(error) is not CtmahoutError
    assert str(error).startswith(f"[{code}] ")
    assert error.message.endswith(".")
    assert error.hint
    assert error.exit_code in (1, 2, 3, 4, 5, 6, 130)


def test_errors_survive_a_process_boundary():
    error = InputError("CTM_INPUT_NOT_FOUND", path="/a")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.code, copy.message, copy.hint) == (
        InputError,
        error.code,
        error.message,
        error.hint,
    )


def test_the_cause_is_found_in_what_spark_wraps_around_it():
    text = (
        "org.apache.spark.SparkException: Job aborted due to stage failure: Task 3 in stage 2.0 failed 1 times\n"
        "Caused by: org.ctmahout.bridge.CtmahoutException: [CTM_EXCHANGE_NOT_FINITE] /m: row 7 of group 0 is NaN.\n"
        "\tat org.apache.spark.rdd.RDD.iterator(RDD.scala:338)\n"
    )
    error = from_text(text)
    assert error is not None
    assert error.code == "CTM_EXCHANGE_NOT_FINITE"
    assert error.message == "/m: row 7 of group 0 is NaN."
    assert error.exit_code == 4


@pytest.mark.parametrize("text", ["", "java.lang.NullPointerException", "[CTM_NO_SUCH_CODE] what"])
def test_a_text_without_a_known_code_is_no_error_of_ours(text):
    assert from_text(text) is None


def test_no_sentence_of_a_message_is_repeated_in_its_hint():
    for code, entry in catalogue().items():
        assert re.fullmatch(r"CTM_[A-Z_]+", code)
        message, hint = (set(re.split(r"(?<=[.;:?]) ", entry[text])) for text in ("message", "hint"))
        assert not message & hint, code


def test_a_path_is_renamed_wherever_an_error_has_it():
    error = InputError("CTM_INPUT_UNREADABLE", file=Path("/tmp/x/a.dcm"), problem="/tmp/x/a.dcm is empty", count=3)
    error.rename("/tmp/x", "s3://b")
    assert "/tmp/x" not in f"{error}{error.message}{error.hint}{error.fields}{pickle.loads(pickle.dumps(error)).fields}"
    assert error.fields["count"] == 3


def test_who_raises_an_error_fills_in_all_that_its_texts_name_and_raises_the_class_of_its_exit_code(root):
    seen = set()
    for file in sorted((root / "python" / "ctmahout").rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not call.args or not isinstance(call.args[0], ast.Constant):
                continue
            if getattr(call.func, "id", "") not in (
                "ConfigError",
                "EngineError",
                "ExchangeError",
                "InputError",
                "OutputError",
            ):
                continue
            code = call.args[0].value
            if code in catalogue():
                assert call.func.id == type(CtmahoutError(code)).__name__, f"{file.name}:{call.lineno}: {code}"
            given = {keyword.arg for keyword in call.keywords}
            if code not in catalogue() or None in given:  # None: **fields
                continue
            entry = catalogue()[code]
            named = set(re.findall(r"\{(\w+)\}", entry["message"] + entry["hint"]))
            assert named <= given, f"{file.name}:{call.lineno}: {code} lacks {named - given}"
            seen.add(code)
    assert len(seen) > 40


def test_ctrl_c_while_a_module_is_imported_is_no_traceback(monkeypatch, capsys):
    class Attribute:
        def __set_name__(self, owner, name):
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.ctmahout, "main", lambda *_, **__: type("Made", (), {"attribute": Attribute()}))
    with pytest.raises(SystemExit) as e:
        cli.main([])
    assert e.value.code == 130
    assert "CTM_INTERRUPTED" in capsys.readouterr().err
