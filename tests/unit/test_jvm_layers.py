"""The layers and words of the JVM side, as docs/adr/0047 has them."""

import re
from pathlib import Path

import pytest

JVM = Path(__file__).parents[2] / "jvm"
MODULES = ("samsara-spark", "sparkbindings", "bridge")
SOURCES = {
    path.relative_to(JVM).as_posix(): path.read_text(encoding="utf-8")
    for module in MODULES
    for path in sorted((JVM / module / "src").glob("main/scala*/**/*.scala"))
}
# Imports run down this list only.
LAYERS = ("io", "plan", "blocks", "incore")
ENGINE = "samsara-spark/src/main/scala/org/ctmahout/samsara/"
BRIDGE = "bridge/src/main/scala/org/ctmahout/bridge/"
INTERNALS = re.compile(
    r"apache\.spark\.(sql\.(catalyst|execution|classic|internal|vectorized)|network|paths|util\.Serializ)\b"
)
DEFINITION = re.compile(
    r"^(?:private(?:\[\w+\])? )?(?:(?:sealed|final|abstract|case) )*(?:class|object|trait) (\w+)", re.MULTILINE
)


def code(text):
    """Sources without comments."""
    return re.sub(r"//.*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))


def files_with(pattern):
    return {name for name, text in SOURCES.items() if pattern.search(code(text))}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_knows_none_above_it(layer):
    above = LAYERS[: LAYERS.index(layer)]
    files = {name: text for name, text in SOURCES.items() if name.startswith(f"{ENGINE}{layer}/")}
    assert files
    climbs = [
        f"{name}: {line.strip()}"
        for name, text in files.items()
        for line in code(text).splitlines()
        if re.search(rf"\b(?:samsara\.|import )(?:{'|'.join(above) or '-'})\.", line)
    ]
    assert climbs == []


def test_a_file_lies_in_the_folder_of_its_package():
    for name, text in SOURCES.items():
        package = ".".join(re.findall(r"^package ([\w.]+)$", text, re.MULTILINE))
        folder = re.sub(r"^.*?/main/scala[^/]*/", "", name).rsplit("/", 1)[0].replace("/", ".")
        assert package in (folder, folder.rsplit(".", 1)[0]), name


def test_a_name_of_the_engine_and_the_bridge_has_one_meaning():
    places = {}
    for name, text in SOURCES.items():
        for definition in DEFINITION.findall(text):
            # Each line of Spark has a file of one name.
            places.setdefault(definition, set()).add(re.sub(r"/scala[^/]*/", "/scala/", name))
    assert {word: files for word, files in places.items() if len(files) > 1} == {}


def test_internals_of_spark_are_in_two_files():
    assert files_with(INTERNALS) == {
        f"{BRIDGE}SparkInternals.scala",
        "bridge/src/main/scala-spark-4/org/ctmahout/bridge/SparkLine.scala",
    }


def test_one_file_looks_at_the_stack():
    stack = re.compile(r"StackWalker|getStackTrace|currentThread\(?\)?\.getStack")
    assert files_with(stack) == {f"{ENGINE}CallingDecomposition.scala"}
