"""A release as its users get it, from a local index of packages and a local Maven folder: `make wheel` makes both."""

import functools
import hashlib
import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pyspark
import pytest

from ctmahout import __version__

ROOT = Path(__file__).resolve().parents[2]
SHELL = Path(pyspark.__path__[0]) / "bin" / "spark-shell"
PAGE = (ROOT / "docs" / "samsara.md").read_text(encoding="utf-8")


def modules():
    """Return the modules for Spark 4 with their Scala, as `spark-shell --packages` names them."""
    names = ("samsara-spark4", "mahout-sparkbindings-spark4", "ctmahout-bridge-spark4")
    return [f"org.ctmahout:{name}_2.13:{__version__}" for name in names]


def programs():
    """Return the Scala programs of the page: with its first one, what it prints, and the one for Mahout 14.1."""
    example = PAGE[PAGE.index("## An example") : PAGE.index("## Keys")]
    first, rows = re.findall(r"```scala\n(.*?)```", example, re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", example, re.DOTALL)
    (mahout,) = re.findall(r"```scala\n(.*?)```", PAGE[PAGE.index("## Programs for Mahout 14.1") :], re.DOTALL)
    return first, rows, printed, mahout


# A JVM that lives for half a minute spends less on one compiler than on two.
BRIEF = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def run(*command, **options):
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


def test_central_would_take_the_modules(built_modules):
    spec = importlib.util.spec_from_file_location("bundle", ROOT / "release" / "bundle.py")
    bundle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bundle)
    # The documentation is made for a release only, which checks it.
    assert bundle.problems(built_modules, javadoc=False) == []
    names = {component.parent.name for component in bundle.components(built_modules)}
    for line in ("spark3.5_2.12", "spark4_2.13"):
        assert {f"{name}-{line}" for name in ("samsara", "mahout-sparkbindings", "ctmahout-bridge")} <= names
    assert {"mahout-core-repackaged_2.12", "mahout-core-repackaged_2.13"} <= names
    assert len(names) == 8


@pytest.fixture
def index(built_wheel, tmp_path):
    """The address of an index of packages that has the wheel; its pages are those of PEP 503."""
    project = tmp_path / "index" / "ctmahout"
    project.mkdir(parents=True)
    shutil.copyfile(built_wheel, project / built_wheel.name)
    digest = hashlib.sha256(built_wheel.read_bytes()).hexdigest()
    (project / "index.html").write_text(
        f'<!DOCTYPE html><a href="{built_wheel.name}#sha256={digest}">{built_wheel.name}</a>'
    )

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    asked = []
    handler = functools.partial(Quiet, directory=tmp_path / "index")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
    assert f"/ctmahout/{built_wheel.name}" in asked


def test_the_wheel_from_an_index_denoises(uv, index, ct_data, tmp_path):
    run(uv, "venv", "--quiet", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    # What the index lacks comes from the one that is set up here.
    run(
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--index",
        index,
        "--refresh-package",
        "ctmahout",
        "ctmahout",
    )
    command = python.with_name("ctmahout")
    assert __version__ in run(command, "--version", cwd=tmp_path)
    source, out = ct_data / "chest_pair_sharp_B70f", tmp_path / "out"
    run(command, "denoise", source, out, "--engine", "numpy", "--method", "slices", "--no-report", cwd=tmp_path)
    assert len(list((out / "auto").glob("*.dcm"))) == 12


@pytest.mark.spark
def test_spark_shell_takes_the_modules_from_a_maven_folder(built_modules, tmp_path):
    first, rows, printed, mahout = programs()
    script = tmp_path / "program.scala"
    # Each has an engine of its own, and in the page the rows come where that of the first is still open.
    shown = first.replace("samsara.close()\n", f"{rows}\nprintln(plusOne.length + 1000)\nsamsara.close()\n")
    script.write_text(f"def forMahout() = {{\n{mahout}\nlargest }}\nprintln(forMahout())\n{shown}\nsys.exit(0)\n")
    said = run(
        *(SHELL, "--master", "local[2]", "--driver-memory", "1g", "--conf", "spark.ui.enabled=false"),
        *("--conf", f"spark.jars.ivy={tmp_path / 'ivy'}", "--repositories", built_modules.as_uri()),
        *("--driver-java-options", BRIEF, "--packages", ",".join(modules()), "-i", script),
        cwd=tmp_path,
    )
    for line in [
        *printed.splitlines(),
        "1003",  # and the largest of A'A, the sum of the fourth powers up to 99:
        "1.95033333E9",
    ]:
        assert line in said, said[-6000:]
    fetched = {jar.name for jar in (tmp_path / "ivy" / "jars").glob("org.ctmahout_*.jar")}
    assert f"org.ctmahout_mahout-core-repackaged_2.13-{__version__}.jar" in fetched
    assert len(fetched) == 4


BUILD = """
scalaVersion := "2.13.16"
libraryDependencies ++= Seq("core", "sql", "mllib").map(m => "org.apache.spark" %% s"spark-$m" % "4.0.1" % Provided)
libraryDependencies ++= Seq(MODULES)
"""


@pytest.mark.spark
def test_a_small_project_of_sbt_compiles_the_programs_of_the_page(built_modules, tmp_path):
    first, rows, _, mahout = programs()
    named = [module.split(":") for module in modules()]
    lines = [f'"{group}" %% "{name.removesuffix("_2.13")}" % "{version}"' for group, name, version in named]
    (tmp_path / "build.sbt").write_text(BUILD.replace("MODULES", ", ".join(lines)))
    shutil.copy(ROOT / "sbt", tmp_path)
    (tmp_path / "project").mkdir()
    shutil.copy(ROOT / "project" / "build.properties", tmp_path / "project")
    repositories = (ROOT / "project" / "repositories").read_text()
    (tmp_path / "project" / "repositories").write_text(f"{repositories}  release: {built_modules.as_uri()}\n")
    for name, body in {"Example": first + rows, "ForMahout": mahout}.items():
        program = f"object {name} {{ def run(sc: org.apache.spark.SparkContext): Unit = {{\n{body}\n}} }}\n"
        (tmp_path / f"{name}.scala").write_text(program)
    (tmp_path / "Bridge.scala").write_text('object Bridge { org.ctmahout.bridge.Main.main(Array("--version")) }\n')
    said = run("./sbt", "-Dsbt.color=false", "compile", cwd=tmp_path, env=os.environ | {"JAVA_TOOL_OPTIONS": BRIEF})
    assert "compiling 3 Scala sources" in said
