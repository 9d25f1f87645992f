"""Checkpoints as trainers, hubs and browsers leave them: loaded, or named as what they are."""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from samedge.errors import CheckpointError
from samedge.models._timm import load_backbone
from samedge.models.checkpoint_head import weights_files
from samedge.models.checkpoints import load_checkpoint
from samedge.models.imagenet import load_mobilenet_v2
from samedge.models.proxyless_trunk import ProxylessTrunk, load_trunk

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state(meta_file: Path) -> State:
    """The tensors of a tiny segment-anything model."""
    loaded: State = torch.load(meta_file, weights_only=True)
    return loaded


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


OPTIMIZER = {
    "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3)}},
    "param_groups": [],
}

DRESSES: dict[str, tuple[Callable[[State], Any], str]] = {
    "DDP": (lambda s: prefixed(s, "module."), "stripped 'module.'"),
    "Lightning": (
        lambda s: {"state_dict": prefixed(s, "model."), "epoch": 1, "hyper_parameters": {}},
        "took 'state_dict' and left epoch, hyper_parameters; stripped 'model.'",
    ),
    "wrapped model": (lambda s: prefixed(s, "sam."), "stripped 'sam.'"),
    "compiled": (lambda s: prefixed(s, "_orig_mod."), "stripped '_orig_mod.'"),
    "compiled in parts": (
        lambda s: {
            n.replace("image_encoder.", "image_encoder._orig_mod."): t for n, t in s.items()
        },
        "stripped '_orig_mod.'",
    ),
    "compiled under DDP": (
        lambda s: prefixed(s, "module._orig_mod."),
        "stripped '_orig_mod.' from the names; stripped 'module.'",
    ),
    "any prefix at all": (lambda s: prefixed(s, "student.net."), "stripped 'student.net.'"),
    "model_state_dict": (
        lambda s: {"model_state_dict": s, "optimizer": OPTIMIZER, "loss": torch.tensor(0.5)},
        "took 'model_state_dict' and left optimizer, loss",
    ),
    "a single mapping": (lambda s: {"my_sam": s, "epoch": 3}, "took 'my_sam' and left epoch"),
    "wrapped four times": (
        lambda s: {"model": {"net": {"module": {"state_dict": s}}}},
        "took 'model'; took 'net'; took 'module'; took 'state_dict'",
    ),
    "wrapped twice": (lambda s: {"model": {"state_dict": s}}, "took 'model'; took 'state_dict'"),
    "with an average": (lambda s: {"ema": s, "model": s}, "took 'model' and left ema"),
    "an epoch beside the tensors": (lambda s: {**s, "epoch": 3}, "left out epoch"),
    "a head beside the model": (
        lambda s: {**prefixed(s, "sam."), "class_head.weight": torch.zeros(3)},
        "left out class_head.weight, beside the model",
    ),
    "profiled": (
        lambda s: {**s, "total_ops": torch.zeros(1), "image_encoder.total_params": torch.zeros(1)},
        "left out a profiler's counters",
    ),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_it_is_loaded_and_said_what_was_taken_off(
    dress: str, state: State, meta_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change, said = DRESSES[dress]
    torch.save(change(state), tmp_path / "tuned.pth")
    with caplog.at_level(logging.WARNING, "samedge"):
        loaded = load_checkpoint(tmp_path / "tuned.pth")
    plain = load_checkpoint(meta_file).state_dict()
    assert all(torch.equal(plain[name], tensor) for name, tensor in loaded.state_dict().items())
    assert said in caplog.text


def test_nothing_is_said_of_a_plain_one(meta_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "samedge"):
        load_checkpoint(meta_file)
    assert caplog.text == ""


@pytest.mark.parametrize("prefix", ["", "sam."])
def test_what_lies_in_the_model_and_is_not_its_own_is_an_error(
    prefix: str, state: State, tmp_path: Path
) -> None:
    more = {**state, "image_encoder.extra.weight": torch.zeros(3)}
    torch.save(prefixed(more, prefix), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"1 are left over \(image_encoder\.extra\.weight\)"):
        load_checkpoint(tmp_path / "x.pth")


TABLE = "image_encoder.pos_embed"

NO_NUMBERS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "NaN": (lambda t: t * float("nan"), "NaN or infinity in 1 tensors"),
    "sparse": (lambda t: t.to_sparse(), "sparse, quantized or without data"),
    "without data": (lambda t: t.to("meta"), "sparse, quantized or without data"),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_weights_that_nothing_computes_with(kind: str, state: State, tmp_path: Path) -> None:
    change, said = NO_NUMBERS[kind]
    torch.save({**state, TABLE: change(state[TABLE])}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=rf"{said}.*image_encoder\.pos_embed"):
        load_checkpoint(tmp_path / "x.pth")


def test_links_and_devices(tmp_path: Path) -> None:
    (tmp_path / "x.pth").symlink_to(tmp_path / "gone.pth")
    with pytest.raises(CheckpointError, match="is a link that leads to no file"):
        load_checkpoint(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="is a device or a pipe"):
        load_checkpoint("/dev/zero")


def endless(state: State) -> dict[str, Any]:
    """A mapping that holds itself, which pickles can."""
    wrapped: dict[str, Any] = dict(state)
    wrapped["model"] = wrapped
    return wrapped


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            lambda s: {"epoch": 3, "optimizer": OPTIMIZER},
            r"no tensors: its keys are epoch \(int\), op",
        ),
        (lambda s: dict.fromkeys(()), "holds no tensors: its keys are none"),
        (lambda s: {"student": s, "teacher": s}, r"2 mappings of tensors \(student, teacher\)"),
        (
            lambda s: {**prefixed(s, "student."), **prefixed(s, "teacher.")},
            r"a model 2 times, under 'student\.', 'teacher\.': save the one",
        ),
        (endless, "wraps its tensors more than 4 times: save its state_dict"),
        (lambda s: torch.zeros(3), "holds a Tensor, expected a state dict"),
    ],
)
def test_mappings_that_hold_no_model(
    content: Callable[[State], Any], said: str, state: State, tmp_path: Path
) -> None:
    torch.save(content(state), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(tmp_path / "x.pth")


# ---- Hugging Face's folders


def sharded(folder: Path, destination: Path, *, suffix: str, prefix: str = "") -> Path:
    """The tensors of a Hugging Face folder in three files and an index."""
    destination.mkdir()
    tensors = prefixed(safetensors.torch.load_file(folder / "model.safetensors"), prefix)
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    names = [f"{stem}-0000{part}-of-00003{suffix}" for part in (1, 2, 3)]
    where = {name: names[index % 3] for index, name in enumerate(tensors)}
    for file in names:
        part = {name: tensors[name] for name in tensors if where[name] == file}
        if suffix == ".safetensors":
            safetensors.torch.save_file(part, destination / file)
        else:
            torch.save(part, destination / file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (destination / f"{stem}{suffix}.index.json").write_text(json.dumps(index))
    shutil.copy(folder / "config.json", destination)
    return destination


def assert_same(path: Path, folder: Path) -> None:
    plain = load_checkpoint(folder).state_dict()
    loaded = load_checkpoint(path).state_dict()
    assert all(torch.equal(plain[name], tensor) for name, tensor in loaded.items())


@pytest.mark.parametrize("prefix", ["", "tuned.sam."])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_a_sharded_folder(
    suffix: str, prefix: str, hugging_face_folder: Path, tmp_path: Path
) -> None:
    folder = sharded(hugging_face_folder, tmp_path / "sharded", suffix=suffix, prefix=prefix)
    assert len(weights_files(folder)) == 3
    for path in (folder, *folder.iterdir()):  # the index, a shard, config.json
        assert_same(path, hugging_face_folder)


def test_a_folder_with_a_pickle(hugging_face_folder: Path, tmp_path: Path) -> None:
    tensors = safetensors.torch.load_file(hugging_face_folder / "model.safetensors")
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    assert_same(tmp_path, hugging_face_folder)
    assert_same(tmp_path / "pytorch_model.bin", hugging_face_folder)


def test_a_file_is_read_by_what_it_holds(hugging_face_folder: Path, tmp_path: Path) -> None:
    shutil.copy(hugging_face_folder / "model.safetensors", tmp_path / "renamed.pth")
    assert_same(tmp_path / "renamed.pth", hugging_face_folder)
    tensors = safetensors.torch.load_file(hugging_face_folder / "model.safetensors")
    torch.save(tensors, tmp_path / "pickle.safetensors")
    assert_same(tmp_path / "pickle.safetensors", hugging_face_folder)


def test_incomplete_folders(hugging_face_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"the folder holds nothing\. Expected model\.safet"):
        load_checkpoint(tmp_path / "empty")
    (tmp_path / "empty" / "sam.pth").touch()
    with pytest.raises(CheckpointError, match=r"the folder holds sam\.pth\. .* path of a file"):
        load_checkpoint(tmp_path / "empty")
    folder = sharded(hugging_face_folder, tmp_path / "sharded", suffix=".safetensors")
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"3 files, and model-00002-of-00003.* whole folder"):
        load_checkpoint(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"one part .* model\.safetensors\.index\.json is not"
    ):
        load_checkpoint(folder / "model-00001-of-00003.safetensors")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no index of a checkpoint"),
        ('{"weight_map": {"a": 1}}', "no index of a checkpoint"),
        ('{"weight_map": {}}', "names no file"),
        ('{"weight_map": {"a": "../../secret.safetensors"}}', "names of files beside it"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "names of files beside it"),
    ],
)
def test_an_index_is_checked(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(tmp_path)


def test_a_tensor_in_two_shards(hugging_face_folder: Path, tmp_path: Path) -> None:
    folder = sharded(hugging_face_folder, tmp_path / "sharded", suffix=".safetensors")
    first, second = sorted(folder.glob("*.safetensors"))[:2]
    shutil.copy(first, second)
    with pytest.raises(CheckpointError, match="holds tensors of another part"):
        load_checkpoint(folder)


# ---- what is no checkpoint


def zipped(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")

    return write


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("sam.pth"))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 375042383\n"

OTHERS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "nothing": ("x.pth", lambda path: path.touch(), "is empty: download"),
    "LFS pointer": ("x.pth", lambda path: path.write_bytes(LFS), r"Git LFS pointer.*git lfs pull"),
    "LFS pointer too": ("x.safetensors", lambda path: path.write_bytes(LFS), "Git LFS pointer"),
    "web page": ("x.pth", lambda path: path.write_text("\n <!DOCTYPE html><html>"), "a web page"),
    "denied": (
        "x.pt",
        lambda path: path.write_text('<?xml version="1.0"?><Error>'),
        "an error of a storage",
    ),
    "JSON": ("x.safetensors", lambda path: path.write_text('{"message": "Not Found"}'), "is JSON"),
    "tar": ("x.tar", tarred, "is a tar archive"),
    "text": ("x.pth", lambda path: path.write_text("Dear reader"), "begins with b'Dear r"),
    "refusal": ("x.pth", lambda path: path.write_text("Access denied"), "a server's refusal"),
    "half a zip": (
        "x.pth",
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(200)),
        "cut off.*download",
    ),
    "gzip": ("x.pth", lambda path: path.write_bytes(gzip.compress(b"x" * 100)), "unpack it"),
    "HDF5": ("x.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "HDF5"),
    "graph": ("x.onnx", lambda path: path.write_bytes(b"\x08\x09"), r"ONNX graph \(\.onnx\)"),
    "other zip": (
        "x.zip",
        zipped("a/readme.txt", "a/sam.pth"),
        r"a/readme\.txt, a/sam\.pth.* unpack",
    ),
    "TorchScript": ("x.pt", zipped("x/constants.pkl", "x/data.pkl"), "TorchScript program"),
    "bundle": ("x.samedge", zipped("bundle.json", "encoder.onnx"), "is a bundle.*--bundle"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_named(kind: str, tmp_path: Path) -> None:
    name, write, said = OTHERS[kind]
    write(tmp_path / name)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_checkpoint(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_bundle_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"is a bundle.*--bundle"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            lambda s, model: {"model": s, "args": argparse.Namespace(lr=1)},
            r"Unsupported global: GLOBAL argparse\.Namespace .* more than tensors.*state_dict",
        ),
        (
            lambda s, model: {"model": s, "loss": np.float64(0.3)},
            r"GLOBAL numpy\S*multiarray\.scalar .* more than tensors",
        ),
        (
            lambda s, model: model,
            r"a whole pickled model .*GLOBAL segment_anything\S*\.Sam .* torch\.save\(model\.state",
        ),
        (lambda s, model: nn.Linear(2, 2), r"a whole pickled model .*torch\.nn\S*\.Linear"),
    ],
    ids=["arguments", "numpy", "pickled SAM", "pickled layer"],
)
def test_pickled_objects_are_refused_with_torchs_reason(
    content: Any, said: str, state: State, meta_sam: Any, tmp_path: Path
) -> None:
    torch.save(content(state, meta_sam), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=said) as caught:
        load_checkpoint(tmp_path / "x.pth")
    for advice in ("weights_only", "add_safe_globals", "trust"):
        assert advice not in str(caught.value)


def test_an_unreadable_file(
    meta_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(meta_file, tmp_path / "x.pth")

    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\): check its"):
        load_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [None, b"", b"{" * 40, b"\xff" * 40])
def test_weights_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    images = torch.zeros(1, 3, 32, 32)
    loads: tuple[Callable[[], object], ...] = (
        lambda: load_trunk(ProxylessTrunk(), path),
        lambda: load_mobilenet_v2(nn.Identity(), path, images),
        lambda: load_backbone(nn.Identity(), path),
    )
    for load in loads:
        with pytest.raises(CheckpointError, match=r"w\.safetensors (cannot be read|is not a read)"):
            load()
