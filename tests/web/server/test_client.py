"""The Python client, against a server."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import samedge
from samedge.errors import ImageError, OptionError, PromptError
from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.web.client import Client, ServerError
from samedge.web.server.running import running
from samedge.web.server.settings import ServeSettings
from tests.web.server.conftest import HEIGHT, WIDTH, picture
from tests.web.server.test_queue import Held


def test_an_image_and_prompts(server: str, predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(picture(21))
    start = np.zeros((HEIGHT, WIDTH), bool)
    start[5:30, 5:30] = True
    prompts = [
        samedge.Prompt([[20, 30], [40, 40]], [1, 0]),
        samedge.Prompt(box=[3, 3, 30, 30]),
        samedge.Prompt([[10, 10]], mask=start),
    ]
    expected = predictor.decode_batch(predictor.encode(load_image(path)), prompts)
    with samedge.Client(server) as client:
        assert client.health()["status"] == "UP"
        assert client.model()["bundle"]["id"] == predictor.manifest.id
        image = client.image(path)
        assert image.size == (HEIGHT, WIDTH)
        found = image.segment(prompts)
        assert all(
            np.array_equal(record.mask, masks.masks[0])
            for record, masks in zip(found, expected, strict=True)
        )
        assert len(image.segment(prompts[0], multimask=True)) == 3


def test_whatever_load_image_takes_is_sent(server: str) -> None:
    data = picture(25)
    array = load_image(data)
    prompt = samedge.Prompt([[20, 30]])
    with samedge.Client(server) as client:
        expected = client.image(data).segment(prompt)
        for source in (array, Image.fromarray(array), io.BytesIO(data)):
            assert client.image(source).segment(prompt) == expected
        wrongs: tuple[Any, ...] = (None, array / 255, array[..., 0])
        for wrong in wrongs:
            with pytest.raises(ImageError):
                client.image(wrong)
        nothing: Any = None
        with pytest.raises(PromptError, match="expected a list"):
            client.image(data).segment(nothing)


def test_a_dropped_image_is_sent_again(server: str) -> None:
    with samedge.Client(server) as client:
        image = client.image(picture(22))
        before = image.segment(samedge.Prompt([[20, 30]]))
        image.forget()
        assert image.segment(samedge.Prompt([[20, 30]])) == before
        everything = list(image.everything(points_per_side=4))
        image.forget()
        assert list(image.everything(points_per_side=4)) == everything


def test_a_stream_s_loop_may_ask_for_more(server: str) -> None:
    client = Client(server, timeout_s=20)
    image = client.image(picture(24))
    answers = list[int]()

    def ask() -> None:
        for line in client.lines(f"/api/v1/images/{image.id}/everything", b"{}"):
            answers.append(len(image.segment(samedge.Prompt([[20, 30]]))))
            if line.type == "progress":
                break

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert set(answers) == {1}
    client.close()


@contextlib.contextmanager
def saying(*answers: bytes, then_s: float = 0.0) -> Iterator[str]:
    """The address of a server that says an answer to each request and closes, later or at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                with listening.accept()[0] as accepted:
                    accepted.recv(1 << 16)
                    accepted.sendall(answer)
                    time.sleep(then_s)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


HALF = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
HALF_LINE = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"type":'
WHOLE = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"UP"}'


def test_an_answer_cut_off_is_told_and_the_next_is_read() -> None:
    with saying(HALF, WHOLE) as address, Client(address) as client:
        with pytest.raises(ServerError, match="broke off its answer"):
            client.health()
        assert client.health() == {"status": "UP"}
    refusal = HALF.replace(b"200 OK", b"500 No")
    with (
        saying(refusal) as address,
        Client(address) as client,
        pytest.raises(ServerError, match="broke off its answer"),
    ):
        client.health()


def test_an_answer_that_stops_on_its_way_is_told() -> None:
    with (
        saying(HALF, then_s=0.5) as address,
        Client(address, timeout_s=0.1) as client,
        pytest.raises(ServerError, match=r"broke off .*timed out"),
    ):
        client.health()


@pytest.mark.parametrize("answer", [HALF, HALF_LINE])
def test_a_stream_cut_off_is_told(answer: bytes) -> None:
    with saying(answer) as address, Client(address) as client, pytest.raises(ServerError):
        list(client.lines("/stream", b"{}"))
    with (
        saying(answer, then_s=0.5) as address,
        Client(address, timeout_s=0.1) as client,
        pytest.raises(ServerError, match=r"broke off .*timed out"),
    ):
        list(client.lines("/stream", b"{}"))


def test_everything_with_progress(server: str, root: Path) -> None:
    steps = list[tuple[int, int]]()
    with samedge.Client(server) as client:
        image = client.image_at("deep/photo.png")
        found = list(
            image.everything(
                progress=lambda done, total: steps.append((done, total)), points_per_side=4
            )
        )
        assert steps == [(1, 1)]
        assert all(record.mask.shape == image.size for record in found)
        for _ in image.everything(points_per_side=4):
            break  # a stream that is left early ends, and the client goes on
        assert client.health()["status"] == "UP"


def test_refusals_are_the_library_s_errors(server: str, tmp_path: Path) -> None:
    with Client(server, token="not asked for") as client:
        with pytest.raises(ImageError, match=r"cannot be read|truncated|image"):
            client.image(b"no image")
        with pytest.raises(ImageError):
            client.image(tmp_path / "missing.png")
        image = client.image(picture(23))
        with pytest.raises(PromptError, match="outside"):
            image.segment(samedge.Prompt([[5000, 1]]))
        with pytest.raises(PromptError, match="bool"):
            image.segment(samedge.Prompt(mask=np.zeros((16, 16), np.float32)))
        with pytest.raises(ServerError) as caught:
            client.image_at("../secret.png")
        assert (caught.value.status, caught.value.kind) == (403, "forbidden")
        assert caught.value.remedy


def test_nobody_there_and_no_address() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServerError, match="running"):
        client.health()
    for address in ("127.0.0.1:80", "ftp://x", ""):
        with pytest.raises(OptionError):
            Client(address)


def test_a_busy_server_is_asked_again(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(predictor, monkeypatch)
    prompt = samedge.Prompt([[5, 5]])
    with running(predictor, ServeSettings(port=0, queue=1)) as address:
        clients = [Client(address) for _ in range(4)]
        images = [client.image(picture()) for client in clients]
        found = list[int]()
        threads = [
            threading.Thread(target=lambda i=image: found.append(len(i.segment(prompt))))
            for image in images
        ]
        for thread in threads:
            thread.start()
        threading.Timer(0.5, held.open.set).start()
        for thread in threads:
            thread.join(30)
        assert found == [1, 1, 1, 1]
        for client in clients:
            client.close()
        with Client(address, retry_s=0) as hasty:
            assert hasty.image(picture()).segment(prompt)


def test_a_server_that_restarted_behind_a_kept_connection(predictor: Predictor) -> None:
    with running(predictor, ServeSettings(port=0)) as address:
        client = Client(address)
        assert client.health()
    port = int(address.rstrip("/").rpartition(":")[2])
    with running(predictor, ServeSettings(port=port)):
        assert client.health()
        client.close()


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("http://127.0.0.1:99999", {}),
        ("http://[::1", {}),
        ("127.0.0.1:8000", {}),
        ("http://127.0.0.1:1", {"timeout_s": -1}),
        ("http://127.0.0.1:1", {"timeout_s": float("nan")}),
    ],
)
def test_an_address_or_a_time_that_is_none(address: str, options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        Client(address, **options)  # type: ignore[arg-type]
