"""The zip for a report of a fault: all that is needed, and nothing private."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from samedge.files.json_text import json_text
from samedge.inspection import bug_report, scrubbing
from samedge.inspection.bug_report import log_path
from samedge.inspection.scrubbing import scrub
from tests.cli.conftest import invoke

SECRETS = {
    "token in an address": ("https://user:hunter2@host/x", "hunter2"),
    "query": ("GET /x?api_key=Zm9vYmFy&a=1", "Zm9vYmFy"),
    "variable": ("HF_TOKEN=abcdef123456", "abcdef123456"),
    "JSON": ('{"password": "s3cr3t-word"}', "s3cr3t-word"),
    "YAML": ("client_secret: s3cr3t-word", "s3cr3t-word"),
    "bearer": ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
    "Hugging Face": ("used hf_AbCdEfGhIjKlMnOpQrStUv", "hf_AbCdEfGhIjKl"),
    "GitHub": ("ghp_0123456789abcdefABCDEF0123456789abcd", "ghp_0123"),
    "cloud": ("id AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    "web token": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJhbGci"),
    "key": ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----", "MHcCAQEE"),
    "half a key": ("-----BEGIN PRIVATE KEY-----\nMHcCAQEE", "MHcCAQEE"),
    "mail": ("ask ada.lovelace@example.org", "lovelace"),
    "camera": ("rtsp://admin:admin1@192.168.1.20:554/main", "admin1"),
    "address": ("connected to 192.168.1.20", "192.168.1.20"),
    "hardware": ("eth0 00:1A:2b:3c:4d:5e", "1A:2b"),
    "option": ("samedge serve --token hunter2-swordfish --debug", "swordfish"),
    "option in quotes": ("samedge sign --key-password 'correct horse'", "horse"),
    "quotes": ("password='correct horse battery'", "battery"),
    "quotes and a comma": ('{"password": "ab,cd-longer"}', "longer"),
    "signed address": ("https://host/x?a=1&X-Amz-Signature=0123abcd", "0123abcd"),
    "short name": ("host/x?sig=0123abcd", "0123abcd"),
    "pwd": ("pwd=swordfish", "swordfish"),
    "IPv6": ("connected to 2001:db8:0:1:1:1:1:1", "2001:db8"),
    "short IPv6": ("connected to fe80::1ff:fe23:4567:890a", "fe80"),
    "home": ("/home/ada/photos/beach.jpg", "ada"),
    "home of a Mac": ("/Users/ada/photos", "ada"),
    "home of Windows": (r'{"path": "C:\\Users\\ada\\x"}', "ada"),
    "home of root": ("/root/photos", "/root"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_private_is_taken_out(name: str) -> None:
    text, secret = SECRETS[name]
    assert secret in text  # the control
    assert secret not in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "onnxruntime 1.32.0 on cpu, OpenVINO 2026.4.1-21234-abcdef",
        "listening on 127.0.0.1:8000",
        '{"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}',
        "/usr/lib/python3.11/site-packages/samedge/cli/output.py, line 12",
        "decoder: token 0, 4 masks; keys and queries",
    ],
)
def test_what_is_needed_stays(text: str) -> None:
    assert scrub(text) == text


def test_values_of_secret_variables_and_names_of_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "_user", lambda: "lovelace")
    monkeypatch.setattr("platform.node", lambda: "engine-1")
    monkeypatch.setenv("HOME", "/data/people/lovelace")
    text = "swordfish of lovelace on engine-1 in /data/people/lovelace/x, Engine-10"
    found = scrub(text, environment={"MY_SECRET": "swordfish", "EDITOR": "vi"})
    assert found == "[hidden] of [user] on [host] in ~/x, Engine-10"


def test_json_stays_json() -> None:
    password = 'pa"ss\\w\u00f6rd, longsecret'
    document = {
        "password": "a'b\\c",
        "path": "C:\\Users\\ada\\x",
        "url": "http://u:p@h/",
        "SAMEDGE_KEY_PASSWORD": password,
        "log": f"it was {password}",
        "command": "sign --key-password='a b' token=",
        "next": "stays",
    }
    for ascii_only in (True, False):
        text = json.dumps(document, ensure_ascii=ascii_only)
        found = scrub(text, environment={"SAMEDGE_KEY_PASSWORD": password})
        assert "longsecret" not in found
        read = json.loads(found)
        assert (read.keys(), read["next"]) == (document.keys(), "stays")


def test_a_variable_that_only_sounds_secret_leaves_values_of_json_alone() -> None:
    document = {"opens": False, "of": None, "size": 512341234, "name": "null-false"}
    variables = {
        "TOKENIZERS_PARALLELISM": "false",
        "CI_TOKEN": "null",
        "DOOR_PASSWORD": "1234",
    }
    found = scrub(json.dumps(document), environment=variables)
    assert "1234" not in found
    assert json.loads(found) == {**document, "size": 500}


def test_a_package_without_a_name_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    json_text(bug_report._environment())


def test_the_report_of_a_command_that_failed(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "swordfish")
    monkeypatch.setenv("SAMEDGE_LIMITS", "prompts=5")
    photo = tmp_path / "private.jpg"
    Image.new("RGB", (8, 8)).save(photo)
    failed = invoke(
        "segment", photo, "--bundle", tmp_path / "swordfish", "--point", "1,1", "--debug"
    )
    assert failed.exit_code == 1
    assert "Traceback" in failed.stderr
    assert "BundleError" in log_path().read_text()
    path = tmp_path / "fault.zip"
    words = ("doctor", "--backend", "null", "--bundle-report", path, "--bundle", toy_bundle)
    done = invoke(*words, "--json")
    assert done.exit_code == 0, done.stderr
    json.loads(done.stdout)
    with zipfile.ZipFile(path) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(texts) == {
        "README.txt",
        "doctor.json",
        "environment.json",
        "manifest.json",
        "debug.log",
    }
    assert "swordfish" in log_path().read_text()  # the control: it was there
    assert not any("swordfish" in text for text in texts.values())
    assert "BundleError" in texts["debug.log"]
    found = json.loads(texts["environment.json"])
    assert found["variables"]["SAMEDGE_LIMITS"] == "prompts=5"
    assert "numpy" in found["installed"]
    assert json.loads(texts["manifest.json"])["opens"] is True
    assert json.loads(texts["doctor.json"])["backends"][0]["name"] == "null"


def test_a_bundle_that_does_not_open_is_described(tmp_path: Path) -> None:
    broken = tmp_path / "b"
    broken.mkdir()
    (broken / "bundle.json").write_bytes(b"{\xff half")
    path = tmp_path / "fault.zip"
    words = ("doctor", "--backend", "null", "--bundle-report", path, "--bundle", broken)
    assert invoke(*words).exit_code == 0
    with zipfile.ZipFile(path) as archive:
        found = json.loads(archive.read("manifest.json"))
    assert found["opens"] is False
    assert "half" in found["text"]


def test_a_log_that_cannot_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samedge.inspection.bug_report.log_path", lambda: Path("/proc/x/debug.log"))
    found = invoke("targets", "--debug", "--json")
    assert found.exit_code == 0
    assert "there is no debug log" in found.stderr
    json.loads(found.stdout)


def test_a_bundle_without_a_report_is_a_usage_error(tmp_path: Path) -> None:
    assert invoke("doctor", "--bundle", tmp_path).exit_code == 2
