import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctmahout import Config, ConfigError
from ctmahout.cli import main
from ctmahout.options import option_error
from ctmahout.storage import Uri


def test_flags_overrule_the_environment_which_overrules_the_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('q = 2\np = 20\nstrength = ["rank:3", "auto"]\n')
    config = Config.load(file=file, environ={"CTMAHOUT_P": "30", "CTMAHOUT_Q": "3"}, flags={"q": 4, "k": None})
    assert (config.q, config.p, config.k) == (4, 30, None)
    assert config.strength == ("rank:3", "auto")


@given(
    strength=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1),
    k=st.none() | st.integers(1, 10**6),
    lenient=st.booleans(),
    suffix=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])),
)
def test_what_show_config_prints_reads_back(tmp_path_factory, strength, k, lenient, suffix):
    config = Config(strength=tuple(strength), k=k, lenient=lenient, series_suffix=suffix)
    file = tmp_path_factory.mktemp("toml") / "run.toml"
    file.write_text(config.to_toml(), encoding="utf-8")
    assert Config.load(file=file) == config


def test_an_unknown_key_is_refused_with_the_nearest_one(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("strenght = ['auto']\n")
    with pytest.raises(ConfigError, match="Did you mean strength") as e:
        Config.load(file=file)
    assert e.value.code == "CTM_CONFIG_UNKNOWN_KEY"


@pytest.mark.parametrize(
    "values",
    [
        {"k": 0},
        {"k": "5"},
        {"k": True},
        {"p": -1},
        {"engine": "mahout"},
        {"algorithm": "svd"},
        {"strength": ()},
        {"lenient": 1},
        {"seed": 1.5},
    ],
)
def test_a_value_out_of_range_or_of_another_type_is_refused(values):
    with pytest.raises(ConfigError) as e:
        Config.of(values)
    assert e.value.code == "CTM_CONFIG_VALUE"


@pytest.mark.parametrize(("name", "text"), [("CTMAHOUT_K", "many"), ("CTMAHOUT_LENIENT", "maybe")])
def test_a_bad_environment_variable_is_named(name, text):
    with pytest.raises(ConfigError, match=name):
        Config.load(environ={name: text})


@pytest.mark.parametrize("content", [b"k = ", b"\xff\xfe\x00", None])
def test_a_file_that_is_not_toml_is_refused(tmp_path, content):
    file = tmp_path / "run.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as e:
        Config.load(file=file)
    assert e.value.code == "CTM_CONFIG_FILE"


def test_spark_settings_are_pairs_and_the_last_one_counts():
    assert Config().spark_conf == {}
    assert Config(conf=("a.b=1", "c= x=y", "a.b=2")).spark_conf == {"a.b": "2", "c": " x=y"}
    for pair in ("a.b", "=1", ""):
        with pytest.raises(ConfigError, match="KEY=VALUE"):
            Config(conf=(pair,))
    with pytest.raises(ConfigError, match="one or more texts"):
        Config(strength=())


def test_an_empty_text_is_none_where_none_is_the_default(capsys):
    with pytest.raises(SystemExit) as e:
        main(["denoise", "--master", "", "--series-suffix", "", "--show-config"])
    assert e.value.code == 0
    shown = capsys.readouterr().out.splitlines()
    assert "# master =" in shown
    assert 'series_suffix = ""' in shown


def test_values_of_numpy_paths_and_uris_are_taken_for_what_they_mean():
    config = Config(
        model=Path("a/model"),
        work=Uri("s3", "bucket", "work"),
        jar=Path("x.jar"),
        k=np.int64(5),
        seed=np.uint8(3),
        series=2,
        lenient=np.True_,
    )
    assert config == Config(
        model="a/model", work="s3://bucket/work", jar="x.jar", k=5, seed=3, series="2", lenient=True
    )
    assert {type(v) for v in (config.k, config.seed)} == {int}
    json.dumps(config.to_dict())


@pytest.mark.parametrize("values", [{"model": 3}, {"work": True}, {"jar": b"x"}, {"series": 1.5}, {"k": np.float64(2)}])
def test_values_that_mean_nothing_are_still_refused(values):
    with pytest.raises(ConfigError) as e:
        Config.of(values)
    assert e.value.code == "CTM_CONFIG_VALUE"


def test_the_message_names_source_option_value_and_what_was_expected():
    assert option_error("k", 0, "1 or more").message == "options: k is 0, expected 1 or more."
    assert (
        option_error("image", None, "an image", source="file").message == "file: image is not given, expected an image."
    )


def test_a_spark_setting_of_the_environment_may_hold_commas():
    text = "spark.jars.packages=a:b:1,c:d:2, spark.executor.extraJavaOptions=-Da=1,-Db=2"
    assert Config.load(environ={"CTMAHOUT_CONF": text}).conf == (
        "spark.jars.packages=a:b:1,c:d:2",
        "spark.executor.extraJavaOptions=-Da=1,-Db=2",
    )


def test_a_misspelt_variable_is_refused_as_a_misspelt_key_is():
    with pytest.raises(ConfigError, match="CTMAHOUT_WORKERS") as e:
        Config.load(environ={"CTMAHOUT_WORKER": "2"})
    assert e.value.code == "CTM_CONFIG_UNKNOWN_KEY"
    others = ("CTMAHOUT_TCIA", "CTMAHOUT_PORT", "CTMAHOUT_SERVICE_HOST", "CTMAHOUT_PORT_80_TCP_ADDR", "CTM_X", "HOME")
    assert Config.load(environ=dict.fromkeys(others, "x")) == Config()
