"""What a release is made with: one version, metadata, the Maven bundle, signatures, the same bytes twice."""

import ast
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import ctmahout

ROOT = Path(__file__).parents[2]


def script(name):
    """Return a module of release/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"release_{name}", ROOT / "release" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


versions, bundle = script("versions"), script("bundle")


def git(folder, *words):
    subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    """A copy of the files under version control, in a repository of its own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    folder = tmp_path / "checkout"
    for name in filter(None, listed.split("\0")):
        if not name.startswith(("tests/", "bench/", "docs/pictures/")) and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    git(tmp_path, "init", "--quiet", folder)
    git(folder, "add", "--all")
    return folder


def test_all_that_mentions_the_version_says_the_same():
    assert versions.disagreements() == []


def test_a_mention_of_another_version_is_found(checkout):
    page = checkout / "docs" / "samsara.md"
    page.write_text(page.read_text() + "\n`spark-shell --packages org.ctmahout:samsara-spark4_2.13:7.0.1`\n")
    assert versions.disagreements(checkout) == ["docs/samsara.md: org.ctmahout:samsara-spark4_2.13:7.0.1"]


def test_a_cut_leaves_no_mention_of_the_version_before(checkout):
    before = versions.read_version(checkout)
    changed = {str(file.relative_to(checkout)) for file in versions.cut("99.8.7", "2031-02-03", checkout)}
    assert {"pyproject.toml", "CHANGELOG.md", "CITATION.cff", "README.md", "docs/samsara.md"} <= changed
    assert {"deploy/k8s/base/kustomization.yaml", "deploy/kubeflow/pipeline.py", "deploy/kubeflow/s3.yaml"} <= changed
    assert [f for f in versions.files(checkout) if re.search(rf"\b{re.escape(before)}\b", f.read_text())] == []
    assert versions.disagreements(checkout) == []
    cited = yaml.safe_load((checkout / "CITATION.cff").read_text())
    assert (cited["version"], str(cited["date-released"])) == ("99.8.7", "2031-02-03")
    # What was unreleased is the new section, and there is room for the next.
    notes = versions.notes("99.8.7", checkout)
    assert notes.startswith("## [99.8.7] - 2031-02-03\n\n### Added\n")
    assert versions.notes("Unreleased", checkout) == "## [Unreleased]\n"
    assert versions.releases(checkout)[0] == "99.8.7"


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("1.2", "no version such as"),
        ("v1.2.3", "no version such as"),
        ("1.2.3-SNAPSHOT", "no version such as"),
        ("99.8.7", "a section of 99.8.7 already"),
        ("99.8.8", "nothing under ## [Unreleased]"),
    ],
)
def test_a_cut_that_makes_no_sense_changes_nothing(checkout, version, sentence):
    versions.cut("99.8.7", "2031-02-03", checkout)
    before = {file: file.read_bytes() for file in [*versions.files(checkout), checkout / "CHANGELOG.md"]}
    with pytest.raises(ValueError, match=re.escape(sentence)):
        versions.cut(version, "2031-02-04", checkout)
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize(
    ("version", "others", "last"),
    [
        ("0.1.0", [], None),
        ("0.1.0", ["0.1.0"], None),
        ("0.1.1", ["0.1.1", "0.1.0"], "0.1.0"),
        ("0.2.0", ["0.1.1", "0.1.0"], None),
        ("1.0.0", ["0.9.0"], None),
        ("1.4.0", ["1.4.0", "1.3.2", "0.9.0"], "1.3.2"),
        ("2.0.0", ["1.3.2"], None),
    ],
)
def test_compatibility_is_promised_within_a_line(version, others, last):
    assert versions.compatible(version, others) == last


def test_what_compares_releases_reads_all_public_names():
    """Of names that are computed griffe knows nothing, and their removal would pass."""
    tree = ast.parse((ROOT / "python" / "ctmahout" / "__init__.py").read_text(encoding="utf-8"))
    (written,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
    assert set(ast.literal_eval(written)) == {*ctmahout._HOME, "__version__"}


def test_citation_has_what_its_format_requires():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type", "license"} <= set(cited)
    assert cited["authors"] == [{"name": "the ctmahout authors"}]


def built(uv, source, out, *kinds, umask=0o022, **environment):
    """Build source with hatchling, and return what came of it by its suffix."""
    subprocess.run(
        [uv, "build", "--quiet", *kinds, "--out-dir", out, source],
        check=True,
        umask=umask,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1780000000"} | environment,
    )
    return {file.suffix: file for file in out.iterdir() if file.suffix in (".whl", ".gz")}


def test_the_same_files_give_the_same_wheel_and_sdist(uv, checkout, tmp_path):
    (checkout / "python/ctmahout/jars").mkdir(exist_ok=True)
    (checkout / "python/ctmahout/jars/ctmahout-spark4_2.13-0.jar").write_bytes(b"a stand-in")
    first = built(uv, checkout, tmp_path / "first", "--sdist", "--wheel")
    # Elsewhere, later, in another order, by somebody with other rights and another clock.
    other = tmp_path / "another" / "place"
    for file in sorted((f for f in checkout.rglob("*") if ".git/" not in f"{f}/"), reverse=True):
        target = other / file.relative_to(checkout)
        if file.is_symlink() or file.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target, follow_symlinks=False)
    second = built(uv, other, tmp_path / "second", "--sdist", "--wheel", umask=0o077, TZ="Asia/Tokyo", LANG="C")
    for suffix, file in first.items():
        assert file.read_bytes() == second[suffix].read_bytes(), suffix
    # What is in the sdist is enough for the wheel: the words of the errors, too.
    assert built(uv, first[".gz"], tmp_path / "third", "--wheel")[".whl"].read_bytes() == first[".whl"].read_bytes()
    with zipfile.ZipFile(first[".whl"]) as wheel:
        assert "ctmahout/contract/errors.json" in wheel.namelist()
        assert not any("/golden/" in name or "/bad/" in name for name in wheel.namelist())
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(name).decode())
    check_metadata(metadata)


def check_metadata(metadata):
    """What an index of packages shows: links that lead somewhere, from one address."""
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    source = urls["Source"]
    assert set(urls) == {"Source", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(source) for url in urls.values())
    assert metadata["Author"] == "the ctmahout authors"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    targets = re.findall(r"\]\(([^)\s]+)\)", metadata.get_payload())
    assert len(targets) > 15
    prefix = re.compile(rf"{re.escape(source)}/(?:blob|raw)/v{re.escape(metadata['Version'])}/")
    for target in targets:
        assert target.startswith(("https:", "#")), target
        place, _, heading = prefix.sub("", target).partition("#")
        if prefix.match(target):
            assert (ROOT / place).exists(), target
            assert not heading or heading in headings(ROOT / place), target


def headings(page):
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<groupId>org.ctmahout</groupId><artifactId>core_2.13</artifactId><version>1.0.0</version><name>core</name>
<description>A core</description><url>https://example.org</url>
<licenses><license><name>Apache-2.0</name><url>https://example.org/licence</url></license></licenses>
<developers><developer><name>the authors</name></developer></developers>
<scm><url>https://example.org</url><connection>scm:git:https://example.org</connection></scm>
<dependencies><dependency><groupId>g</groupId><artifactId>needed</artifactId><version>2</version></dependency></dependencies>
</project>"""


def add(file, content):
    """Write a file of a Maven repository, with its checksums."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    for kind in ("md5", "sha1"):
        Path(f"{file}.{kind}").write_text(hashlib.new(kind, content).hexdigest())


@pytest.fixture
def maven(tmp_path):
    """A Maven repository of one small component that Central would take, but for a signature."""
    component = tmp_path / "maven" / "org" / "ctmahout" / "core_2.13" / "1.0.0"
    add(component / "core_2.13-1.0.0.pom", POM.encode())
    for classifier in ("", "-sources", "-javadoc"):
        jar = tmp_path / "new.jar"
        with zipfile.ZipFile(jar, "w") as archive:
            for name in ("LICENSE", "NOTICE"):
                archive.writestr(f"META-INF/{name}", classifier)
        add(component / f"core_2.13-1.0.0{classifier}.jar", jar.read_bytes())
    return tmp_path / "maven"


def test_a_complete_component_has_no_problem(maven):
    assert bundle.problems(maven) == []


@pytest.mark.parametrize(
    ("element", "problem"),
    [
        ("<name>core</name>", "says no name"),
        ("<description>A core</description>", "says no description"),
        ("<url>https://example.org</url>", "says no url"),
        ("<name>Apache-2.0</name>", "says no licenses/license/name"),
        ("<developer><name>the authors</name></developer>", "says no developers/developer/name"),
        ("<connection>scm:git:https://example.org</connection>", "says no scm/connection"),
        ("<version>2</version>", "names no version of needed"),
        ("org.ctmahout", "has the coordinates of"),
    ],
)
def test_a_pom_that_central_refuses(maven, element, problem):
    assert element in POM
    add(next(maven.rglob("*.pom")), POM.replace(element, "").encode())
    assert any(problem in found for found in bundle.problems(maven))


@pytest.mark.parametrize("suffix", ["-sources.jar", "-javadoc.jar", "0.jar", ".pom.sha1", "-sources.jar.md5"])
def test_a_file_that_central_misses(maven, suffix):
    next(maven.rglob(f"*{suffix}")).unlink()
    (problem,) = bundle.problems(maven)
    assert suffix in problem


def test_a_flipped_bit_is_not_what_the_checksum_is_of(maven):
    jar = next(maven.rglob("*-javadoc.jar"))
    jar.write_bytes(jar.read_bytes()[:-1] + b"?")
    assert [f"{jar.name}.{kind} is not the checksum of {jar.name}" for kind in bundle.CHECKSUMS] == bundle.problems(
        maven
    )


def test_jars_without_terms_and_folders_without_components(maven, tmp_path):
    jar = next(maven.rglob("*0.0.jar"))
    with zipfile.ZipFile(tmp_path / "new.jar", "w") as archive:
        archive.writestr("META-INF/LICENSE", "")
    add(jar, (tmp_path / "new.jar").read_bytes())
    assert bundle.problems(maven) == [f"{jar.name} lacks META-INF/NOTICE"]
    assert "no POM" in bundle.problems(tmp_path / "nothing")[0]


def test_a_bundle_has_the_same_bytes_whenever_and_by_whom_it_is_written(maven, tmp_path):
    bundle.write_zip(maven, tmp_path / "1.zip", 1780000000)
    for file in maven.rglob("*.*"):
        os.utime(file, (0, 0))
        file.chmod(0o700)
    bundle.write_zip(maven, tmp_path / "2.zip", 1780000000)
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2026, 5, 28, 20, 26, 40)}
        archive.extractall(tmp_path / "unpacked")
    assert bundle.problems(tmp_path / "unpacked") == []


@pytest.fixture
def key(gnupg, tmp_path, monkeypatch):
    """A key of GnuPG's, in a home of its own."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    quick = ["--quick-generate-key", "Releases <releases@example.org>", "ed25519", "sign", "1d"]
    subprocess.run(["gpg", "--batch", "--quiet", "--passphrase", "", *quick], check=True, capture_output=True)
    yield "releases@example.org"
    subprocess.run(["gpgconf", "--kill", "all"], check=False)


def sign(*words):
    return subprocess.run([ROOT / "release/sign.sh", *map(str, words)], capture_output=True, text=True, check=False)


def test_signing_adds_signatures_and_changes_nothing(maven, key, tmp_path):
    built = tmp_path / "release"
    built.mkdir()
    maven.rename(built / "maven")
    bundle.write_zip(built / "maven", built / "ctmahout-1.0.0-maven.zip", 0x60000000)
    (built / "ctmahout-1.0.0.intoto.json").write_text("{}")
    files = sorted(file for file in built.rglob("*") if file.is_file())
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(built)}\n" for file in files]
    (built / "SHA256SUMS").write_text("".join(lines))
    before = {file: file.read_bytes() for file in built.rglob("*") if file.is_file()}

    assert "no secret key nobody@example.org" in sign("nobody@example.org", built).stderr
    assert not (tmp_path / "release-signed").exists()
    for _ in range(2):  # a second time is as good as the first
        done = sign(key, built)
        assert done.returncode == 0, done.stderr
    assert {file: file.read_bytes() for file in built.rglob("*") if file.is_file()} == before
    signed = tmp_path / "release-signed"
    with zipfile.ZipFile(signed / "ctmahout-1.0.0-maven.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert bundle.problems(tmp_path / "unpacked", signed=True) == []
    signatures = [*(tmp_path / "unpacked").rglob("*.asc"), *signed.glob("*.asc")]
    assert len(signatures) == 6
    for signature in signatures:
        verify = ["gpg", "--batch", "--verify", signature, signature.with_suffix("")]
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    (built / "maven.txt").write_text("")
    (built / "ctmahout-1.0.0.intoto.json").write_text("{ }")
    done = sign(key, built)
    assert done.returncode == 1
    assert "not as it was built" in done.stderr


def test_a_component_without_signatures_is_refused_where_they_are_due(maven):
    problems = bundle.problems(maven, signed=True)
    assert len(problems) == 4
    assert all("has no signature" in problem for problem in problems)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["v99.0.0"], "there is no tag v99.0.0"),
        (["HEAD", "/nonexistent/podman"], "/nonexistent/podman is not installed"),
    ],
)
def test_a_release_that_cannot_be_built_says_why_and_leaves_what_is_there(checkout, words, sentence):
    git(checkout, "-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "--quiet", "--message", "All")
    (checkout / "build/release").mkdir(parents=True)
    ref, *container = words
    environment = os.environ | {"CONTAINER": container[0] if container else sys.executable}
    done = subprocess.run(
        [checkout / "release/build.sh", ref], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert (checkout / "build/release").is_dir()
