"""Java's archive of classes: made once, used by every engine, and no harm when it is damaged."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ctmahout.errors import catalogue

pytestmark = pytest.mark.spark

CTMAHOUT = str(Path(sys.executable).parent / "ctmahout")


@pytest.fixture(scope="module")
def warmed_up(tmp_path_factory):
    """A cache of a user who has warmed up, in a folder with a space in its name."""
    cache = tmp_path_factory.mktemp("user's cache")
    told = json.loads(ctmahout("warm-up", "--json", cache=cache).stdout)
    archive = Path(told["path"])
    assert list(cache.rglob("*")) == [cache / "ctmahout", archive]
    assert archive.stat().st_size == told["bytes"]
    return archive


def ctmahout(*args, cache, **environment):
    return subprocess.run(
        [CTMAHOUT, *args],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment, "XDG_CACHE_HOME": str(cache)},
    )


def shared(python, engine, cache, log):
    """Return how many of the classes that a decomposition loads come from the archive, and how many do not."""
    python("logged_classes.py", engine, log, environment={"XDG_CACHE_HOME": str(cache)})
    lines = log.read_text().splitlines()
    found = sum("shared objects file (top)" in line for line in lines)
    return found, len(lines) - found


@pytest.mark.parametrize("engine", ["py4j", "jpype", "submit"])
def test_every_engine_takes_its_classes_from_the_archive(python, warmed_up, tmp_path, engine):
    found, others = shared(python, engine, warmed_up.parents[1], tmp_path / "classes.log")
    assert found > others


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_java_goes_without_a_damaged_archive(python, warmed_up, tmp_path, damage):
    (tmp_path / "ctmahout").mkdir()
    spoilt = tmp_path / "ctmahout" / warmed_up.name
    shutil.copyfile(warmed_up, spoilt)
    with spoilt.open("r+b") as file:
        middle = warmed_up.stat().st_size // 2
        if damage == "truncated":
            file.truncate(middle)
        else:
            file.seek(middle)
            byte = file.read(1)[0]
            file.seek(middle)
            file.write(bytes([byte ^ 1]))
    found, others = shared(python, "py4j", tmp_path, tmp_path / "classes.log")
    assert found == 0
    assert others > 0


def test_what_java_cannot_archive_is_told_before_it_starts(tmp_path):
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "spark-defaults.conf.template").touch()
    done = ctmahout("warm-up", cache=tmp_path / "cache", SPARK_CONF_DIR=str(conf))
    assert done.returncode == catalogue()["CTM_WARM_UP_FAILED"]["exit"]
    assert done.stderr.startswith("ctmahout: [CTM_WARM_UP_FAILED]")
    assert not (tmp_path / "cache").exists()


def test_the_doctor_knows_whether_spark_is_warmed_up(warmed_up, tmp_path):
    def told(cache):
        checks = json.loads(ctmahout("doctor", "--json", cache=cache).stdout)
        return next(check["found"] for check in checks if check["name"] == "start of Spark")

    assert told(warmed_up.parents[1]) == f"short, with {warmed_up}"
    assert "`ctmahout warm-up`" in told(tmp_path)
    os.utime(warmed_up, (0, 0))
    assert "again" in told(warmed_up.parents[1])
