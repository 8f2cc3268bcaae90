"""Address and credentials of a cluster: what a kubeconfig, Spark's settings and the account of a pod say of them."""

import base64
import json
import os
import subprocess
import sys

import pytest
from helpers import code_of, refusal
from web import Web, served

from ctmahout.engines import cluster_access, kubernetes_api
from ctmahout.engines.kubernetes_api import KubernetesApi

PATH = "/api/v1/namespaces/default/pods/p"
SUBMISSION = "spark.kubernetes.authenticate.submission."
V1 = "client.authentication.k8s.io/v1"


@pytest.fixture(autouse=True)
def no_kubeconfig(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    monkeypatch.setattr(kubernetes_api, "_OUTAGE_S", 0.0)
    monkeypatch.setattr(cluster_access, "_ACCOUNT", tmp_path / "account")


@pytest.fixture
def web():
    with served(Web()) as one:
        one.files[PATH] = b'{"kind": "Pod"}'
        yield one


@pytest.fixture
def kubeconfig(monkeypatch, tmp_path, web):
    """Writes a kubeconfig with one context, `c`, and makes it the one that is used."""

    def write(user=None, name="config", current="c", **cluster):
        document = {
            "current-context": current,
            "contexts": [{"name": "c", "context": {"cluster": "there", "user": "me"}}],
            "clusters": [{"name": "there", "cluster": {"server": web.url} | cluster}],
            "users": [{"name": "me", "user": user}],
        }
        (tmp_path / name).write_text(json.dumps(document))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / name))

    return write


def authorisation(web, conf=None, master=None):
    """The header of a request."""
    assert KubernetesApi(master, conf or {}).get(PATH) == {"kind": "Pod"}
    return web.seen[-1][1].get("Authorization")


def detail(conf=None, master=None):
    """What is wrong with the access."""
    error = refusal(lambda: KubernetesApi(master, conf or {}).get(PATH))
    assert (error.code, error.exit_code) == ("CTM_KUBERNETES_ACCESS", 2)
    return error.message


def test_a_token_of_the_kubeconfig_and_one_of_the_settings(web, kubeconfig, tmp_path):
    kubeconfig({"token": "t"})
    assert authorisation(web) == "Bearer t"
    (tmp_path / "token").write_text("of-a-file\n")
    assert authorisation(web, {f"{SUBMISSION}oauthToken": "other"}) == "Bearer other"
    assert authorisation(web, {f"{SUBMISSION}oauthTokenFile": str(tmp_path / "token")}) == "Bearer of-a-file"
    kubeconfig({"tokenFile": "token"})  # beside the kubeconfig
    assert authorisation(web) == "Bearer of-a-file"
    kubeconfig({"username": "u", "password": "p"})
    assert authorisation(web) == "Basic dTpw"
    # As behind `kubectl proxy`.
    kubeconfig()
    assert authorisation(web) is None


def test_the_context_of_several_kubeconfigs(web, kubeconfig, monkeypatch, tmp_path):
    kubeconfig({"token": "second"}, name="second")
    (tmp_path / "first").write_text("current-context: c\nusers: [{name: me, user: {token: first}}]\n")
    (tmp_path / "empty").write_text("")
    files = [tmp_path / name for name in ("empty", "missing", "first", "second")]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)))
    # The first file that says something counts.
    assert authorisation(web) == "Bearer first"
    kubeconfig({"token": "t"}, current="another")
    assert authorisation(web, {"spark.kubernetes.context": "c"}) == "Bearer t"
    assert "no context another in" in detail()
    assert "no context z in" in detail({"spark.kubernetes.context": "z"})
    kubeconfig({"token": "t"}, current="")
    assert authorisation(web, master=f"k8s://{web.url}") is None
    assert "no --master" in detail()


@pytest.mark.parametrize(
    "text",
    ["[]", "a: [", "\0", "current-context: c", "current-context: c\ncontexts: [1]", "contexts: 3\ncurrent-context: c"],
)
def test_what_is_no_kubeconfig(monkeypatch, tmp_path, text):
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    detail()


@pytest.mark.parametrize(
    ("user", "cluster", "word"),
    [
        ({"auth-provider": {"name": "oidc"}}, {}, "auth-provider"),
        ({"token": "t", "as": "somebody"}, {}, "user has as"),
        ({"exec": {"apiVersion": V1, "command": "x", "provideClusterInfo": True}}, {}, "provideClusterInfo"),
        ({"token": "t"}, {"tls-server-name": "n"}, "tls-server-name"),
        ({"client-certificate": "config", "client-key": "config"}, {}, "PEM"),
        ({"client-certificate": "missing", "client-key": "missing"}, {}, "No such file"),
        ({"token": 3}, {}, "Expected `str"),
        ({"token": "t"}, {"proxy-url": "x://y"}, "x://y"),
    ],
)
def test_what_cannot_be_used_is_refused_and_not_left_out(web, kubeconfig, user, cluster, word):
    kubeconfig(user, **cluster)
    assert word in detail()
    assert web.seen == []


def test_a_token_in_the_settings_takes_the_place_of_a_user_that_cannot_be_used(web, kubeconfig):
    kubeconfig({"auth-provider": {"name": "oidc"}})
    assert authorisation(web, {f"{SUBMISSION}oauthToken": "t"}) == "Bearer t"


def plugin(folder, *answers, version=V1):
    """The user of a credential plugin, which prints one answer after the other, and notes what it is told."""
    program = folder / "plugin.py"
    program.write_text(
        f"import os, pathlib, sys\nfolder = pathlib.Path({str(folder)!r})\n"
        "(folder / 'info').write_text(os.environ['KUBERNETES_EXEC_INFO'] + os.environ.get('MINE', ''))\n"
        f"answers = {[a if isinstance(a, str) else json.dumps(a) for a in answers]!r}\n"
        "calls = folder / 'calls'\nn = len(calls.read_text()) if calls.exists() else 0\n"
        "calls.write_text('.' * (n + 1))\nprint(answers[n])\n"
    )
    env = [{"name": "MINE", "value": "x"}]
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": [str(program)], "env": env}}


def token(value):
    return {"kind": "ExecCredential", "status": {"token": value}}


@pytest.mark.parametrize("version", [V1, f"{V1}beta1"])
def test_a_credential_plugin_is_asked_and_again_when_its_token_is_refused(web, kubeconfig, tmp_path, version):
    kubeconfig(plugin(tmp_path, token("old"), token("new"), version=version))
    api = KubernetesApi(None, {})

    def refuse(handler):
        handler.send_error(401)
        return True

    assert api.get(PATH)
    web.faults = [refuse]
    assert api.get(PATH)
    assert [headers["Authorization"] for _, headers in web.seen] == ["Bearer old", "Bearer old", "Bearer new"]
    info = json.loads((tmp_path / "info").read_text().removesuffix("x"))
    assert (info["apiVersion"], info["kind"]) == (version, "ExecCredential")


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ({"status": {"clientCertificateData": "c", "clientKeyData": "k"}}, "'token' is missing"),
        ({}, "'status' is missing"),
        ("no JSON", "Expecting value"),
        ("[]", ""),
    ],
)
def test_a_credential_plugin_without_a_token(web, kubeconfig, tmp_path, answer, word):
    kubeconfig(plugin(tmp_path, answer))
    assert word in detail()


def test_a_credential_plugin_that_fails_or_is_not_there_or_of_another_kind(web, kubeconfig, tmp_path):
    kubeconfig(plugin(tmp_path))
    assert "IndexError" in detail()
    kubeconfig({"exec": {"apiVersion": V1, "command": "ctmahout-no-such-plugin"}})
    assert "ctmahout-no-such-plugin" in detail()
    kubeconfig({"exec": {"apiVersion": f"{V1}0", "command": "true"}})
    assert "v10 not implemented" in detail()
    kubeconfig({"exec": {"command": "true"}})
    assert "'apiVersion' is missing" in detail()


def test_a_credential_plugin_that_fails_in_mid_job_is_tried_again(web, kubeconfig, monkeypatch, tmp_path):
    monkeypatch.setattr(kubernetes_api, "_OUTAGE_S", 30.0)
    monkeypatch.setattr(kubernetes_api, "_PAUSE_S", 0.01)
    kubeconfig(plugin(tmp_path, token("old"), "", token("new")))
    api = KubernetesApi(None, {})
    assert api.get(PATH)
    web.faults = [lambda handler: handler.send_error(401) or True] * 2
    assert api.get(PATH)
    assert web.seen[-1][1]["Authorization"] == "Bearer new"


@pytest.mark.parametrize("master", ["k8s://http://[", "k8s://https://localhost:port", "k8s://x://y", "k8s://"])
def test_a_master_that_is_no_address(master):
    error = refusal(lambda: KubernetesApi(master, {}).get(PATH))
    assert error.code in ("CTM_KUBERNETES_ACCESS", "CTM_KUBERNETES_UNREACHABLE")


def test_a_proxy(web, kubeconfig):
    kubeconfig({"token": "t"}, server="http://cluster.invalid:6443", **{"proxy-url": web.url})
    assert authorisation(web) == "Bearer t"
    assert web.seen[-1][0] == f"http://cluster.invalid:6443{PATH}"


def test_an_api_below_a_path(web, kubeconfig):
    kubeconfig({"token": "t"}, server=f"{web.url}/k8s/clusters/c-1")
    web.files[f"/k8s/clusters/c-1{PATH}"] = web.files.pop(PATH)
    assert authorisation(web) == "Bearer t"


def test_the_account_of_a_pod(monkeypatch, tmp_path):
    certificate(tmp_path, "account")
    (tmp_path / "account" / "namespace").write_text("default")
    (tmp_path / "account" / "token").write_text("first")
    with served(Web(), tmp_path / "account" / "both.pem") as web:
        web.files[PATH] = b'{"kind": "Pod"}'
        _, host, port = web.url.split(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host.strip("/"))
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        assert authorisation(web) == "Bearer first"
        # With the cluster's own name, as users give it.
        assert authorisation(web, master=f"k8s://{web.url}") == "Bearer first"
        api = KubernetesApi(None, {})
        assert api.get(PATH)
        (tmp_path / "account" / "token").write_text("second")
        web.faults = [lambda handler: handler.send_error(401) or True]
        assert api.get(PATH)
        assert web.seen[-1][1]["Authorization"] == "Bearer second"


def certificate(folder, name):
    """Make a certificate that vouches for itself: `ca.crt`, `key.pem`, and both in `both.pem`."""
    folder = folder / name
    folder.mkdir()
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        [*make.split(), "-keyout", folder / "key.pem", "-out", folder / "ca.crt"], check=True, capture_output=True
    )
    (folder / "both.pem").write_text((folder / "key.pem").read_text() + (folder / "ca.crt").read_text())
    return folder


def test_certificates_of_server_and_client(kubeconfig, monkeypatch, tmp_path):
    server, client = certificate(tmp_path, "server"), certificate(tmp_path, "client")
    with served(Web(), server / "both.pem", clients=client / "ca.crt") as secure:
        secure.files[PATH] = b'{"kind": "Pod"}'
        # Paths of a kubeconfig are relative to it.
        user = {"client-certificate": "client/ca.crt", "client-key": "client/key.pem"}
        kubeconfig(user, server=secure.url, **{"certificate-authority": "server/ca.crt"})
        assert authorisation(secure) is None
        kubeconfig(user, server=secure.url, **{"insecure-skip-tls-verify": True})
        assert authorisation(secure) is None
        data = {f"{key}-data": base64.b64encode((tmp_path / file).read_bytes()).decode() for key, file in user.items()}
        authority = base64.b64encode((server / "ca.crt").read_bytes()).decode()
        kubeconfig(data, server=secure.url, **{"certificate-authority-data": authority})
        assert authorisation(secure) is None
        # Without the client's, without the server's, and with neither missing.
        kubeconfig({}, server=secure.url, **{"certificate-authority": "server/ca.crt"})
        assert code_of(KubernetesApi(None, {}).get, PATH) == "CTM_KUBERNETES_UNREACHABLE"
        monkeypatch.setenv("KUBECONFIG", "/nonexistent")
        files = {"clientCertFile": client / "ca.crt", "clientKeyFile": client / "key.pem"}
        settings = {f"{SUBMISSION}{key}": str(file) for key, file in files.items()}
        assert code_of(KubernetesApi(f"k8s://{secure.url}", settings).get, PATH) == "CTM_KUBERNETES_UNREACHABLE"
        settings[f"{SUBMISSION}caCertFile"] = str(server / "ca.crt")
        assert authorisation(secure, settings, f"k8s://{secure.url}") is None


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"[]", b"3", b"\xff"])
def test_a_server_that_is_no_kubernetes(web, body):
    web.files[PATH] = body
    assert code_of(KubernetesApi(f"k8s://{web.url}", {}).get, PATH) == "CTM_KUBERNETES_UNREACHABLE"


def test_a_proxy_that_answers_without_a_word(web):
    def silent(handler):
        handler.send_response_only(503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    web.faults = [silent]
    error = refusal(KubernetesApi(f"k8s://{web.url}", {}).get, PATH)
    assert error.code == "CTM_KUBERNETES_UNREACHABLE"
    assert "status 503" in error.message
