"""One predictor for many threads, forks and closing; a pool whose queue has an end."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge import runtimes
from samedge.bundle.bundle import embedded_path
from samedge.errors import InferenceError, OptionError, SamedgeError, SourceError
from samedge.live.camera import Camera
from samedge.predict.pool import PredictorPool
from samedge.predict.predictor import Predictor
from samedge.runtimes.sharing import Closable
from samedge.types import Prompt

pytest.importorskip("onnx")

from tests.toys.bundle import SIDE  # noqa: F401 - skips where onnx is absent

BACKENDS = ("onnxruntime", "openvino")
THREADS = 16


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    probe = runtimes.get(request.param).probe()
    if not probe.available:
        pytest.skip(probe.detail)
    return str(request.param)


@pytest.fixture
def predictor(toy_bundle: Path, backend: str) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, backend=backend, threads=2) as opened:
        yield opened


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)


def prompts(count: int) -> list[Prompt]:
    places = np.random.default_rng(4).uniform(1, 90, (count, 2))
    return [Prompt(points=[place]) for place in places]


def answers_in_threads(predictor: Predictor, image: np.ndarray, each: int) -> None:
    """Every thread gets what one alone gets, to the bit."""
    asked = prompts(each)
    embedding = predictor.encode(image)
    expected = [predictor.decode(embedding, one).low_res_logits for one in asked]
    gate = threading.Barrier(THREADS)

    def work(number: int) -> int:
        gate.wait()
        own = predictor.encode(image)
        assert np.array_equal(own.data, embedding.data)
        order = np.random.default_rng(number).permutation(each)
        found = (predictor.decode(own, asked[i]).low_res_logits for i in order)
        return sum(np.array_equal(a, expected[i]) for a, i in zip(found, order, strict=True))

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(THREADS))) == [each] * THREADS


def test_threads_get_what_one_gets(predictor: Predictor, image: np.ndarray) -> None:
    answers_in_threads(predictor, image, 25)


@pytest.mark.slow
def test_threads_get_what_one_gets_500_times(predictor: Predictor, image: np.ndarray) -> None:
    answers_in_threads(predictor, image, 500)


@pytest.mark.slow
@pytest.mark.parametrize("of", ["onnxruntime", "openvino"])
def test_threads_share_the_embedded_model(of: str, image: np.ndarray) -> None:
    if not runtimes.get(of).probe().available:
        pytest.skip(f"{of} is not here")
    with Predictor.from_bundle(embedded_path(), backend=of, threads=1) as predictor:
        answers_in_threads(predictor, image, 500)


@pytest.mark.slow
def test_threads_share_a_torch_program(image: np.ndarray, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from samedge.export import export
    from tests.models.conftest import build_meta_sam

    torch.save(build_meta_sam(128).state_dict(), tmp_path / "tiny.pth")
    export(tmp_path / "tiny.pth", "torch", precision="fp32", output=tmp_path / "b")
    with Predictor.from_bundle(tmp_path / "b", threads=1) as predictor:
        answers_in_threads(predictor, image, 500)


def test_a_predictor_that_mixes_threads_up_would_be_found(
    predictor: Predictor, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: one answer of the decoder is another's."""
    run = predictor.graphs.run
    kept: list[Any] = []

    def mixed(role: str, feeds: Mapping[str, Any]) -> Any:
        found = run(role, feeds)
        if role == "decoder":
            kept.append(found)
            return kept[len(kept) // 2]
        return found

    monkeypatch.setattr(predictor.graphs, "run", mixed)
    with pytest.raises(AssertionError):
        answers_in_threads(predictor, image, 3)


# ---- forks


def _decode(predictor: Predictor, image: np.ndarray, answers: Any) -> None:
    answers.put(predictor.predict(image, Prompt(points=[[64, 48]])).low_res_logits)


def _open_and_decode(path: Path, backend: str, image: np.ndarray, answers: Any) -> None:
    with Predictor.from_bundle(path, backend=backend, threads=2) as predictor:
        _decode(predictor, image, answers)


def in_child(method: str, target: Callable[..., None], *arguments: Any) -> np.ndarray:
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    child = context.Process(target=target, args=(*arguments, answers))  # type: ignore[attr-defined]
    child.start()
    try:
        found: np.ndarray = answers.get(timeout=60)
    finally:
        child.join(10)
        if child.is_alive():
            child.kill()
            pytest.fail("the child hangs")
    return found


def test_a_fork_opens_its_own(predictor: Predictor, image: np.ndarray) -> None:
    expected = predictor.predict(image, Prompt(points=[[64, 48]])).low_res_logits
    assert np.array_equal(in_child("fork", _decode, predictor, image), expected)
    again = predictor.predict(image, Prompt(points=[[64, 48]])).low_res_logits
    assert np.array_equal(again, expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_children_open_the_bundle(
    toy_bundle: Path, backend: str, image: np.ndarray, method: str
) -> None:
    with Predictor.from_bundle(toy_bundle, backend=backend, threads=2) as predictor:
        expected = predictor.predict(image, Prompt(points=[[64, 48]])).low_res_logits
    found = in_child(method, _open_and_decode, toy_bundle, backend, image)
    assert np.array_equal(found, expected)


# ---- closing


def test_closing_waits_for_those_who_are_inside(
    predictor: Predictor, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = predictor.graphs.session("encoder")
    inside, go_on, ended = threading.Event(), threading.Event(), []
    run = session.run

    def slow(feeds: Any) -> Any:
        inside.set()
        go_on.wait(10)
        return run(feeds)

    monkeypatch.setattr(session, "run", slow)
    worker = threading.Thread(target=lambda: ended.append(predictor.encode(image).data.shape))
    worker.start()
    inside.wait(10)
    closer = threading.Thread(target=predictor.close)
    closer.start()
    time.sleep(0.05)
    assert closer.is_alive()
    with pytest.raises(InferenceError, match="closed"):
        predictor.encode(image)
    go_on.set()
    worker.join(10)
    closer.join(10)
    assert len(ended) == 1
    assert not closer.is_alive()


def test_many_threads_while_it_closes(predictor: Predictor, image: np.ndarray) -> None:
    """Each call is answered or told that it is closed; nothing else, and no crash."""
    odd: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                predictor.predict(image, Prompt(points=[[64, 48]]))
        except InferenceError as error:
            if "closed" not in str(error):
                odd.append(error)
        except BaseException as error:  # noqa: BLE001
            odd.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    predictor.close()
    for thread in threads:
        thread.join(30)
    assert odd == []


# ---- the pool


@pytest.fixture
def pool(toy_bundle: Path) -> Iterator[PredictorPool]:
    pytest.importorskip("onnxruntime")

    def opened() -> Predictor:
        return Predictor.from_bundle(toy_bundle, threads=1)

    with PredictorPool(opened, size=2, waiting=1) as found:
        yield found


def test_a_pool_answers_as_one_predictor_does(
    pool: PredictorPool, toy_bundle: Path, image: np.ndarray
) -> None:
    click = Prompt(points=[[64, 48]])
    with Predictor.from_bundle(toy_bundle, threads=1) as one:
        expected = one.predict(image, click).low_res_logits
    embedding = pool.encode(image)
    assert np.array_equal(pool.predict(image, click).low_res_logits, expected)
    assert np.array_equal(pool.decode(embedding, click).low_res_logits, expected)
    assert np.array_equal(pool.decode_batch(embedding, [click])[0].low_res_logits, expected)


def test_the_queue_has_an_end(pool: PredictorPool, image: np.ndarray) -> None:
    answered: list[object] = []
    with pool.taken(), pool.taken():
        waiter = threading.Thread(target=lambda: answered.append(pool.encode(image)))
        waiter.start()
        deadline = time.monotonic() + 10
        while not pool._waiting and time.monotonic() < deadline:
            time.sleep(0.005)
        with pytest.raises(InferenceError, match="2 predictors are busy and 1 calls wait, limit 1"):
            pool.encode(image)
    waiter.join(10)
    assert len(answered) == 1


def test_waiting_counts_in_the_time_limit(pool: PredictorPool, image: np.ndarray) -> None:
    with (
        pool.taken(),
        pool.taken(),
        samedge.time_limit(0.05),
        pytest.raises(InferenceError, match="time limit"),
    ):
        pool.encode(image)


def test_a_closed_pool_says_so(pool: PredictorPool, image: np.ndarray) -> None:
    pool.close()
    pool.close()
    with pytest.raises(InferenceError, match="closed"):
        pool.encode(image)


def test_whoever_closes_a_pool_waits_for_those_inside(pool: PredictorPool) -> None:
    closers = [threading.Thread(target=pool.close, daemon=True) for _ in range(2)]
    with pool.taken() as predictor:
        for closer in closers:
            closer.start()
            closer.join(0.2)
            assert closer.is_alive()
    for closer in closers:
        closer.join(60)
        assert not closer.is_alive()
    with pytest.raises(InferenceError, match="closed"):
        predictor.load()


def test_a_pool_has_a_size() -> None:
    with pytest.raises(OptionError, match="size 0"):
        PredictorPool(lambda: pytest.fail("opened"), size=0)


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("predictor", InferenceError),
        ("graphs", InferenceError),
        ("pool", InferenceError),
        ("camera", SourceError),
    ],
)
def test_what_was_closed_is_not_entered_again(
    owner: str, expected: type[SamedgeError], toy_bundle: Path
) -> None:
    owned: Closable
    if owner == "camera":
        owned = Camera([np.zeros((8, 8, 3), np.uint8)])
    elif owner == "pool":
        owned = PredictorPool(lambda: Predictor.from_bundle(toy_bundle), size=1)
    else:
        opened = Predictor.from_bundle(toy_bundle)
        owned = opened if owner == "predictor" else opened.graphs
    with owned, owned:  # as often as anybody likes until it is closed
        pass
    owned.close()
    assert owned.is_closed
    with pytest.raises(expected, match=r"closed: open"):
        owned.__enter__()


def test_a_closed_camera_does_not_start() -> None:
    """It captured into nothing, and ended at once without a word."""
    camera = Camera([np.zeros((8, 8, 3), np.uint8)])
    camera.close()
    with pytest.raises(SourceError, match="closed"):
        next(iter(camera))
