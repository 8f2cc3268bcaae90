"""The image as orchestrators start it: as a module of mercure, and as a MONAI Application Package.

What mercure and the Holoscan CLI pass to the container is written down here from their sources: docs/orchestrators.md.
"""

import json
import shlex

import jsonschema
import pydicom
import pytest

from ctmahout._version import __version__
from ctmahout.workflows.phantom import write_phantom

pytestmark = pytest.mark.cluster

MERCURE = {
    "MERCURE_IN_DIR": "/tmp/data",
    "MERCURE_OUT_DIR": "/tmp/output",
    "MONAI_INPUTPATH": "/tmp/data",
    "MONAI_OUTPUTPATH": "/tmp/output",
    "HOLOSCAN_INPUT_PATH": "/tmp/data",
    "HOLOSCAN_OUTPUT_PATH": "/tmp/output",
}
SETTINGS = {"method": "slices", "strength": ["rank:2"]}
QUICK = SETTINGS | {"engine": "numpy", "report": False}


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A series, as a folder of files."""
    folder = tmp_path_factory.mktemp("scan")
    return write_phantom(folder / "phantom", size=96, slices=8, dose=0.02)["noisy"]


@pytest.fixture
def task(scan, tmp_path):
    """The folder of a task, in/ and out/ with the rights that mercure gives them; makes it from settings."""

    def make(settings=SETTINGS):
        for name in ("in", "out"):
            (tmp_path / name).mkdir()
            (tmp_path / name).chmod(0o777)
        for file in sorted(scan.glob("*.dcm")):
            uid = pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID
            (tmp_path / "in" / f"{uid}#{file.name}").write_bytes(file.read_bytes())
            (tmp_path / "in" / f"{uid}#{file.stem}.tags").write_text("{}")
        values = {"id": "1", "process": {"module_name": "ctmahout", "settings": settings}}
        (tmp_path / "in" / "task.json").write_text(json.dumps(values))
        for file in (tmp_path / "in").iterdir():
            file.chmod(0o666)
        return tmp_path

    return make


def variables(values):
    return [word for name, value in values.items() for word in ("--env", f"{name}={value}")]


def as_mercure(podman, image, folder, *options):
    """Start a module as mercure does, without a command; returns how it ended."""
    mounts = [f"--mount=type=bind,source={folder / a},target=/tmp/{b}" for a, b in (("in", "data"), ("out", "output"))]
    return podman(
        "run", "--rm", "--cap-drop", "all", "--network", "none", *mounts, *variables(MERCURE), *options, image
    )


def derived(folder):
    """Return the images of a folder, which must all be of one derived series."""
    images = {file.name: pydicom.dcmread(file) for file in folder.glob("*.dcm")}
    for name, ds in images.items():
        assert name.startswith(f"{ds.SeriesInstanceUID}#")
        assert list(ds.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    assert len({ds.SeriesInstanceUID for ds in images.values()}) == 1
    return list(images.values())


def test_mercure_takes_it_for_a_module_and_not_for_a_package_that_needs_root(podman, image):
    assert podman("run", "--rm", "--entrypoint", "", image, "cat", "/etc/monai/app.json").returncode != 0


def test_a_module_of_mercure_by_spark_and_a_user_without_a_name(podman, image, task, caches):
    folder = task()
    done = as_mercure(podman, image, folder, "--user", "54321:12345", "--group-add", "12345", "--passwd=false", *caches)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(derived(folder / "out")) == 8
    assert {file.stat().st_uid for file in (folder / "out").iterdir()} == {54321}
    result = json.loads((folder / "out" / "result.json").read_text())
    (row,) = result["series"]
    assert (row["outcome"], row["results"][0]["strength"], row["results"][0]["rank"]) == ("done", "rank:2", 2)
    assert not list((folder / "out").glob(".*"))


def test_a_module_with_a_read_only_root(podman, image, task, caches):
    folder = task(QUICK)
    options = ("--user", "1000:1000", "--passwd=false", "--read-only", "--tmpfs", "/tmp", *caches)
    done = as_mercure(podman, image, folder, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(derived(folder / "out")) == 8
    assert (folder / "out" / "result.json").exists()


def test_a_module_with_wrong_settings_ends_with_its_code_and_writes_nothing(podman, image, task, caches):
    folder = task({"strenght": "auto"})
    done = as_mercure(podman, image, folder, "--user", "1000:1000", *caches)
    assert done.returncode == 2
    assert "[CTM_CONFIG_UNKNOWN_KEY]" in done.stderr
    assert list((folder / "out").iterdir()) == []


# Fields that the specification requires, or gives a type (Holoscan Application Package, SDK 3.11).
APP = {
    "type": "object",
    "required": ["type", "command", "environment", "input", "output", "workingDirectory", "version", "apiVersion"],
    "properties": {
        "type": {"enum": ["application", "service"]},
        "command": {"type": "string"},
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "input": {"required": ["formats"], "properties": {"path": {"type": "string"}, "formats": {"type": "array"}}},
        "output": {"required": ["format"], "properties": {"path": {"type": "string"}}},
        "timeout": {"type": "integer"},
        "version": {"const": __version__},
        "workingDirectory": {"pattern": "^/"},
    },
}
PKG = {
    "type": "object",
    "required": ["applicationRoot", "version"],
    "properties": {
        "applicationRoot": {"pattern": "^/"},
        "modelRoot": {"pattern": "^/"},
        "models": {"type": "array"},
        "resources": {"properties": {"cpu": {"type": "number"}, "memory": {"pattern": r"^[0-9.]+(Mi|Gi)$"}}},
        "version": {"const": __version__},
    },
}


@pytest.fixture(scope="module")
def manifests(podman, image):
    """Both manifests, got out of a container that never runs, as the runner does."""
    name = podman("create", image).stdout.strip()
    try:
        texts = [podman("cp", f"{name}:/etc/holoscan/{part}.json", "-").stdout for part in ("app", "pkg")]
    finally:
        podman("rm", name)
    # A tar archive of one file.
    return [json.loads(text[text.index("{") : text.rindex("}") + 1]) for text in texts]


def test_the_manifests_of_a_package(podman, image, manifests, tmp_path):
    for manifest, schema in zip(manifests, (APP, PKG), strict=True):
        jsonschema.validate(manifest, schema)
    shown = podman("run", "--rm", image, "show").stdout
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(shown)
    assert [first, json.loads(shown[end:])] == manifests
    tmp_path.chmod(0o777)
    for command, place in (("export", "config"), ("extract", "")):
        for file in tmp_path.iterdir():
            file.unlink()
        target = f"{tmp_path}:/var/run/holoscan/export/{place}"
        assert podman("run", "--rm", "--volume", target, image, command).returncode == 0
        assert [json.loads((tmp_path / f"{part}.json").read_text()) for part in ("app", "pkg")] == manifests
    labels = json.loads(podman("image", "inspect", image).stdout)[0]["Labels"]
    assert labels["org.opencontainers.image.version"] == manifests[0]["version"]
    root = manifests[1]["applicationRoot"]
    assert podman("run", "--rm", image, "test", "-f", f"{root}/sbom.cdx.json").returncode == 0


@pytest.mark.parametrize("by_command", [False, True], ids=["as holoscan run does", "by the manifest's command"])
def test_a_package_is_run(podman, image, manifests, scan, tmp_path, caches, by_command):
    app, _ = manifests
    where = {side: f"{app['workingDirectory']}/{app[side]['path']}" for side in ("input", "output")}
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    (tmp_path / "app.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in QUICK.items()))
    environment = app["environment"] | {
        "HOLOSCAN_INPUT_PATH": where["input"],
        "HOLOSCAN_OUTPUT_PATH": where["output"],
        "HOLOSCAN_HOSTING_SERVICE": "HOLOSCAN_RUN",
        "NVIDIA_VISIBLE_DEVICES": "all",
    }
    volumes = {scan: where["input"], tmp_path / "out": where["output"]}
    volumes[tmp_path / "app.toml"] = app["environment"]["HOLOSCAN_CONFIG_PATH"]
    words = [word for here, there in volumes.items() for word in ("--volume", f"{here}:{there}")]
    # Here limits cannot be raised, and naming one takes away those of containers.conf.
    limits = ("stack=67108864", "nofile=20000:20000", "nproc=32768:32768")
    words += [word for limit in limits for word in ("--ulimit", limit)]
    words += ["--user", "1000:1000", "--workdir", app["workingDirectory"], "--shm-size", "1g"]
    words += ["--cap-add", "SYS_PTRACE", "--group-add", "44", *variables(environment), *caches]
    command = shlex.split(app["command"]) if by_command else []
    entry = ("--entrypoint", "") if by_command else ()
    done = podman("run", "--rm", *words, *entry, image, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(derived(tmp_path / "out")) == 8
    assert json.loads((tmp_path / "out" / "result.json").read_text())["series"][0]["outcome"] == "done"


def test_a_package_without_input_says_so(podman, image, tmp_path, caches):
    tmp_path.chmod(0o777)
    done = podman("run", "--rm", "--volume", f"{tmp_path}:/var/holoscan/output", *caches, image)
    assert done.returncode == 3
    assert "[CTM_INPUT_" in done.stderr
    assert "/var/holoscan/input" in done.stderr
