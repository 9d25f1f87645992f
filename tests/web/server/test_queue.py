"""The queue: full is 429, a client that left leaves nothing behind, a stop finishes what runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from samedge.predict.predictor import Predictor
from samedge.web.server.failures import BusyError, StoppingError, TimedOutError
from samedge.web.server.running import running
from samedge.web.server.settings import ServeSettings
from samedge.web.server.worker import Job, Worker
from tests.web.server.conftest import call, connected, picture, refused, request, sent

ASK = {"prompts": [{"points": [[5, 5]]}]}


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(limit=3)
    yield made
    made.close(seconds=5)


class Gate:
    """Work that starts, and ends when it is told to."""

    def __init__(self) -> None:
        self.started, self.open = threading.Event(), threading.Event()

    def __call__(self, job: Job[str]) -> str:
        del job
        self.started.set()
        assert self.open.wait(10)
        return "done"


def test_jobs_run_in_their_order_and_no_more_wait_than_may(worker: Worker) -> None:
    gate, order = Gate(), list[int]()
    first = worker.submit(gate, seconds=10)
    assert gate.started.wait(5)

    def noting(number: int) -> None:
        worker.submit(lambda _: order.append(number), seconds=10)

    for number in range(3):
        noting(number)
    with pytest.raises(BusyError):
        noting(3)
    last = worker.waiting
    gate.open.set()
    assert first.future.result(5) == "done"
    while worker.waiting:
        time.sleep(0.01)
    assert last == 3
    assert worker.submit(lambda _: list(order), seconds=10).future.result(5) == [0, 1, 2]


def test_a_click_goes_between_the_batches_of_a_patient_job(worker: Worker) -> None:
    started, clicked, order = threading.Event(), threading.Event(), list[str]()

    def patient(job: Job[None]) -> None:
        order.append("first batch")
        started.set()
        assert clicked.wait(5)
        job.breathe()
        order.append("second batch")

    long = worker.submit(patient, seconds=10, patient=True)
    assert started.wait(5)
    click = worker.submit(lambda _: order.append("click"), seconds=10)
    clicked.set()
    long.future.result(5)
    click.future.result(5)
    assert order == ["first batch", "click", "second batch"]


def test_a_job_that_waited_too_long_is_not_started(worker: Worker) -> None:
    gate = Gate()
    worker.submit(gate, seconds=10)
    late = worker.submit(lambda _: "late", seconds=0.05)
    time.sleep(0.1)
    gate.open.set()
    with pytest.raises(TimedOutError):
        late.future.result(5)


def test_a_closed_worker_drops_what_waits_and_takes_no_more() -> None:
    worker, gate = Worker(limit=3), Gate()
    running_job = worker.submit(gate, seconds=10)
    assert gate.started.wait(5)
    waiting = worker.submit(lambda _: None, seconds=10)
    threading.Timer(0.1, gate.open.set).start()
    worker.close(seconds=5)
    assert running_job.future.result(0) == "done"
    assert waiting.future.cancelled()
    with pytest.raises(StoppingError):
        worker.submit(lambda _: None, seconds=1)


class Held:
    """A predictor's decoder that waits until it is let go."""

    def __init__(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.calls = threading.Event(), 0
        decode = predictor.decode_batch

        def held(*args: object, **options: object) -> object:
            self.calls += 1
            assert self.open.wait(20)
            return decode(*args, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(predictor, "decode_batch", held)


@pytest.fixture
def held(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(predictor, monkeypatch)


def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_full_queue_is_429_and_then_answers_again(predictor: Predictor, held: Held) -> None:
    settings = ServeSettings(port=0, queue=1)
    with running(predictor, settings) as address, ThreadPoolExecutor() as pool:
        path = f"/api/v1/images/{sent(address)}/masks"
        first = pool.submit(call, address, "POST", path, body=ASK)
        _until(lambda: held.calls == 1)
        second = pool.submit(call, address, "POST", path, body=ASK)
        _until(lambda: b"samedge_queue_waiting 1.0" in call(address, "GET", "/metrics").body)
        answer = call(address, "POST", path, body=ASK)
        refused(answer, 429, "busy")
        assert answer.headers["retry-after"] == "1"
        upload = call(
            address, "POST", "/api/v1/images", body=picture(), headers={"Content-Type": ""}
        )
        refused(upload, 429, "busy")
        held.open.set()
        assert first.result().status == second.result().status == 200
        assert call(address, "POST", path, body=ASK).status == 200


def test_a_client_that_leaves_takes_its_work_along(predictor: Predictor, held: Held) -> None:
    with running(predictor, ServeSettings(port=0)) as address, ThreadPoolExecutor() as pool:
        path = f"/api/v1/images/{sent(address)}/masks"
        first = pool.submit(call, address, "POST", path, body=ASK)
        _until(lambda: held.calls == 1)
        with connected(address) as sock:
            import json

            sock.sendall(request("POST", path, body=json.dumps(ASK).encode()))
            _until(lambda: b"samedge_queue_waiting 1.0" in call(address, "GET", "/metrics").body)
        _until(lambda: b'status="499"' in call(address, "GET", "/metrics").body)
        held.open.set()
        assert first.result().status == 200
        assert held.calls == 1


def test_an_answer_that_takes_too_long_is_504(predictor: Predictor, held: Held) -> None:
    with running(predictor, ServeSettings(port=0, request_s=0.3)) as address:
        path = f"/api/v1/images/{sent(address)}/masks"
        refused(call(address, "POST", path, body=ASK), 504, "timed_out")
        held.open.set()


def test_a_stop_finishes_what_is_in_flight(predictor: Predictor, held: Held) -> None:
    with ThreadPoolExecutor() as pool:
        with running(predictor, ServeSettings(port=0)) as address:
            path = f"/api/v1/images/{sent(address)}/masks"
            asked = pool.submit(call, address, "POST", path, body=ASK)
            _until(lambda: held.calls == 1)
            threading.Timer(0.3, held.open.set).start()
        answer = asked.result()
        assert answer.status == 200
        assert len(answer.document["masks"]) == 1
        with pytest.raises(OSError):
            call(address, "GET", "/health")
