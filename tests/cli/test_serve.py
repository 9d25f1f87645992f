"""``samedge serve``: starts, says where, ends well."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from samedge.errors import OptionError
from tests.cli.conftest import invoke

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")
def test_it_says_where_and_ends_on_sigterm(toy_bundle: Path) -> None:
    command = [sys.executable, "-m", "samedge", "serve", str(toy_bundle), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            document, end = "", ""
            while end != "}\n":
                end = process.stdout.readline()
                assert end, "it ended before it said where it is"
                document += end
            started = json.loads(document)
            assert started["schema"] == "samedge.serve/1"
            assert started["address"].startswith("http://127.0.0.1:")
            assert started["bundle"]["model"] == "toy"
            with urlopen(started["address"] + "health", timeout=60) as answer:
                assert json.load(answer)["status"] == "UP"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.read() == ""
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_taken_port_is_named(toy_bundle: Path) -> None:
    """`serve` and the pages of `annotate` and `camera` listen in the same words."""
    from samedge.live.page import Page

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("serve", toy_bundle, "--port", port, "--json")
        with pytest.raises(OptionError, match=f"Port {port} of 127.0.0.1 cannot be used"):
            Page(port)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["kind"], document["remedy"][:19]) == ("option", "give another port; ")
    assert f"Port {port} of 127.0.0.1" in document["message"]
    result = invoke("serve", toy_bundle, "--host", "192.0.2.1", "--token", "t" * 20)
    assert "192.0.2.1 cannot be listened on" in result.stderr
    assert "name an address of this machine" in result.stderr


def test_an_open_address_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMEDGE_TOKEN", raising=False)
    result = invoke("serve", "--host", "0.0.0.0", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["schema"], document["kind"]) == ("samedge.error/1", "option")
    assert "--token" in document["remedy"]


def test_a_root_that_is_no_folder_and_an_unknown_protocol(toy_bundle: Path) -> None:
    for options in (("--root", "missing"), ("--protocol", "label_studios")):
        result = invoke("serve", toy_bundle, "--port", 0, *options)
        assert result.exit_code == 1
