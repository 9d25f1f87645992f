"""The table of models: complete, importable without torch, and true to what is built."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from samedge.errors import CheckpointError, DownloadError, UnknownNameError
from samedge.models import zoo
from samedge.models._tinyvit import TinyViTConfig, TinyViTEncoder
from samedge.models._vit import ViTConfig, ViTEncoder
from samedge.models.sam import build_sam
from samedge.models.zoo import MODELS, ModelEntry, load_model, models
from tests.toys.models import tiny_sam

DOWNLOADED = [entry for entry in MODELS.values() if not entry.is_embedded]


def test_listing_needs_no_torch() -> None:
    code = "import sys; from samedge.models import zoo; zoo.models(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.onnx", "is an ONNX graph"),
        ("empty.pth", "is empty"),
        ("gone.pth", "There is no checkpoint at"),
        ("no-such-model", "Unknown model 'no-such-model'"),
    ],
)
def test_what_is_no_model_is_told_without_torch(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08")
    (tmp_path / "empty.pth").touch()
    code = (
        "import sys; from samedge.export.named import export_bundle as one\n"
        "from samedge.comparison.named import compare\n"
        "from samedge.errors import SamedgeError\n"
        "for call in (lambda: one('cpu', sys.argv[1]), lambda: compare(model=sys.argv[1])):\n"
        "    try: call()\n"
        "    except SamedgeError as error: print(error)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    lines = done.stdout.split("\n")
    assert said in lines[0]
    assert lines[0] == lines[1]
    assert lines[2] == "False"


@pytest.mark.parametrize("entry", DOWNLOADED, ids=lambda entry: entry.name)
def test_downloads_are_pinned(entry: ModelEntry) -> None:
    assert entry.address is not None
    assert entry.address.startswith("https://")
    assert entry.address.endswith(entry.file_name)
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256 or "")
    assert entry.size_bytes is not None
    assert entry.parameters is not None
    assert 4 * entry.parameters <= entry.size_bytes < 4.3 * entry.parameters
    assert entry.licence == "Apache-2.0"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("sam-vit-b", ViTConfig()),
        (
            "sam-vit-l",
            ViTConfig(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23), mlp_dim=4096),
        ),
        (
            "sam-vit-h",
            ViTConfig(width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31), mlp_dim=5120),
        ),
        ("mobile-sam", TinyViTConfig()),
    ],
)
def test_parameter_counts(name: str, config: ViTConfig | TinyViTConfig) -> None:
    with torch.device("meta"):
        encoder = ViTEncoder(config) if isinstance(config, ViTConfig) else TinyViTEncoder(config)
        sam = build_sam(encoder)
    assert sum(p.numel() for p in sam.parameters()) == MODELS[name].parameters


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mobile-sam'"):
        load_model("mobil-sam")


def test_a_path_is_never_taken_for_a_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*sam\.pth"):
        load_model("sam.pth")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_model(tmp_path / "sam-vit-b")


def test_an_embedded_model_that_is_not_there_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    assert [entry.name for entry in models()] == [entry.name for entry in DOWNLOADED]
    with pytest.raises(UnknownNameError, match="samedge-nano"):
        load_model("samedge-nano")


def test_an_embedded_model_loads_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samedge.models.building import build_model
    from samedge.models.checkpoints import save_checkpoint
    from samedge.models.spec import ModelSpec

    options = {"backbone": "test_resnet.r160_in1k"}
    spec = ModelSpec(encoder="timm", encoder_options=options, image_size=64, decoder="painted")
    save_checkpoint(build_model(spec), tmp_path / "samedge-nano.safetensors", spec=spec)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    assert "samedge-nano" in [entry.name for entry in models()]
    loaded = load_model("samedge-nano")
    assert loaded.image_size == 64
    assert loaded.spec is not None
    assert (loaded.spec.name, loaded.spec.licence) == ("samedge-nano", "Apache-2.0")
    assert loaded.spec.encoder_options == options


def test_no_network_says_where_to_put_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(DownloadError) as caught:
        load_model("mobile-sam")
    message = str(caught.value)
    assert "network is unreachable" in message
    assert f"put it at {MODELS['mobile-sam'].path} (40728226 bytes" in message


def test_a_file_put_there_by_hand_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without network, and only if it is the right one."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    sam = tiny_sam(64, embed_dim=32)
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path))
    entry = MODELS["mobile-sam"]
    entry.path.parent.mkdir(parents=True)
    torch.save(sam.state_dict(), entry.path)
    with pytest.raises(DownloadError, match=r"put it at .* \(40728226 bytes"):
        load_model("mobile-sam")
    assert "expected 40728226; it is downloaded again" in caplog.text
    content = entry.path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    right = dataclasses.replace(entry, sha256=digest, size_bytes=len(content))
    assert zoo.fetch(right) == entry.path
