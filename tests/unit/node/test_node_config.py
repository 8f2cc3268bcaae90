"""The configuration file: what is refused, in which words; and the rules."""

import doctest
from pathlib import Path

import pytest
import yaml
from dicom_node import configuration, toml
from helpers import refusal

from ctmahout.cli import main
from ctmahout.node import NodeConfig, config, rules
from ctmahout.node.config import Rule
from ctmahout.node.receive import STORED_CLASSES, accepted_syntaxes
from ctmahout.node.rules import Traits, match


def load(folder, text):
    (folder / "node.toml").write_text(text)
    return NodeConfig.load(folder / "node.toml")


def test_a_file_gives_a_configuration_and_its_paths_are_relative_to_it(tmp_path):
    values = configuration(tmp_path, 104, queue="queue", page={"port": 8000})
    node = load(tmp_path, toml(values))
    assert node.queue == tmp_path / "queue"
    assert (node.destinations[0].port, node.rules[0].send_to, node.page.address) == (104, ("archive",), "127.0.0.1")
    assert node.rules[0].denoise_config(timestamp="2026-01-31").method == "slices"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"prot": 1}, "CTM_CONFIG_UNKNOWN_KEY", "prot"),
        ({"port": "high"}, "CTM_CONFIG_VALUE", "port is 'high', expected a whole number"),
        ({"port": True}, "CTM_CONFIG_VALUE", "port is True"),
        ({"title": "SEVENTEENLETTERS!"}, "CTM_CONFIG_VALUE", "1 to 16 printable"),
        ({"peers": []}, "CTM_CONFIG_VALUE", "who may send"),
        ({"peers": [{"title": "A", "address": "10.0.0.0/33"}]}, "CTM_CONFIG_VALUE", "an IP address or network"),
        ({"peers": [{"name": "A"}]}, "CTM_CONFIG_UNKNOWN_KEY", "peers.name"),
        ({"rules": [{"name": "a", "send_to": ["b"]}]}, "CTM_CONFIG_VALUE", "'b', expected the name of a destination"),
        ({"rules": [{"name": "a/b"}]}, "CTM_CONFIG_VALUE", "rules.name"),
        ({"rules": [{"name": "a", "options": {"strenght": "auto"}}]}, "CTM_CONFIG_UNKNOWN_KEY", "strenght"),
        ({"rules": [{"name": "a", "options": {"effort": "little"}}]}, "CTM_CONFIG_VALUE", "effort"),
        ({"rules": [{"name": "a", "options": {"work": "w"}}]}, "CTM_CONFIG_UNKNOWN_KEY", "work"),
        ({"rules": [{"name": "a", "thickness_mm": [3, 1]}]}, "CTM_CONFIG_VALUE", "[from, to]"),
        ({"rules": [{"name": "a"}, {"name": "a"}]}, "CTM_CONFIG_VALUE", "names that differ"),
        ({"tls": {"authorities": "ca.pem"}}, "CTM_CONFIG_VALUE", "certificate and key"),
        ({"page": {"address": "0.0.0.0"}}, "CTM_CONFIG_VALUE", "a file with a token"),
        ({"limits": {"image_mib": 0}}, "CTM_CONFIG_VALUE", "limits.image_mib"),
        ({"unmatched": "drop"}, "CTM_CONFIG_VALUE", "quarantine or skip"),
    ],
    ids=str,
)
def test_a_wrong_file_is_refused_before_anything_starts(tmp_path, changes, code, words):
    error = refusal(load, tmp_path, toml(configuration(tmp_path, 104) | changes))
    assert error.code == code
    assert words in error.message
    assert str(tmp_path / "node.toml") in error.message or error.fields.get("source") not in (None, "options")
    assert not (tmp_path / "queue").exists()


def test_no_toml_and_no_file(tmp_path):
    assert refusal(load, tmp_path, "queue = ").code == "CTM_CONFIG_FILE"
    assert refusal(NodeConfig.load, tmp_path / "absent.toml").code == "CTM_CONFIG_FILE"


def test_check_says_what_it_read(tmp_path, capsys):
    (tmp_path / "node.toml").write_text(toml(configuration(tmp_path, 104, port=11112)))
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(tmp_path / "node.toml"), "--check"])
    assert ended.value.code == 0
    assert "CTMAHOUT at 127.0.0.1:11112, 1 rules" in capsys.readouterr().out
    assert not (tmp_path / "queue").exists()


def test_the_first_rule_that_matches_applies():
    chosen = (
        Rule("b", sender="CT[12]"),
        Rule("thin", thickness_mm=(0.0, 1.5), description="*Lung*"),
    )
    assert match(chosen, Traits("ct2")).name == "b"
    assert match(chosen, Traits("CT3", description="LUNG 1.0", thickness_mm=1.0)).name == "thin"
    assert match(chosen, Traits("CT3", description="LUNG 3.0", thickness_mm=3.0)) is None


def test_the_files_that_we_show_are_valid(tmp_path, root):
    shown = (root / "docs" / "serve.md").read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]
    assert [rule.name for rule in load(tmp_path, shown).rules] == ["sharp lung", "others"]
    part = (root / "docs" / "serve.md").read_text(encoding="utf-8").partition("## Archives that speak DICOMweb\n")[2]
    shown = part.partition("```toml\n")[2].partition("```")[0]
    asking = load(tmp_path, 'queue = "queue"\n' + shown + '[[rules]]\nname = "all"\nsend_to = ["archive"]\n')
    assert (asking.queries[0].name, asking.destinations[0].archive) == ("research", asking.queries[0].archive)
    polling = NodeConfig.load(root / "deploy" / "node" / "dicomweb.toml")
    assert (polling.peers, polling.queries[0].archive) == ((), polling.destinations[0].archive)
    node = NodeConfig.load(root / "deploy" / "node" / "node.toml")
    compose = yaml.safe_load((root / "deploy" / "node" / "compose.yaml").read_text(encoding="utf-8"))
    assert compose["services"]["node"]["ports"] == [f"127.0.0.1:{port}:{port}" for port in (node.port, node.page.port)]
    assert node.page.token_file == Path("/run/secrets/page_token")


def test_the_conformance_statement_has_what_is_accepted(root):
    text = (root / "docs" / "conformance.md").read_text(encoding="utf-8")
    for uid, name in STORED_CLASSES.items():
        assert f"| {name} | {uid} |" in text
    assert len(accepted_syntaxes()) == 15
    assert "1.2.840.10008.1.2.1.99" not in accepted_syntaxes()


def test_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module in (config, rules):
        result = doctest.testmod(module)
        assert (result.failed, result.attempted > 0) == (0, True)
