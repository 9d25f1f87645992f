"""What the page keeps of painted masks is bounded by bytes, however large they are."""

from __future__ import annotations

from typing import Any

from tests.web.conftest import Tab

KEPT = """async (steps) => {
    const { Kept } = await import(new URL("modules/kept.js", document.baseURI));
    const sources = {}, kept = new Kept(10_000), seen = [];
    for (const [what, name, bytes] of steps) {
        const source = sources[name] ??= { name, byteLength: name === "heavy" ? 9_000 : 0 };
        if (what === "put") kept.put(source, "red", name, bytes);
        else if (what === "blue") kept.put(source, "blue", name, bytes);
        else if (what === "get") seen.push(kept.get(source, "red") ?? null);
        else if (what === "turn") kept.turn();
        else seen.push(kept.bytes);
    }
    return seen; }"""

MANY = """(count) => {
    const { painter, masks } = samedge, [one] = masks.objects, Own = window.OffscreenCanvas;
    const whole = () => ({ ...one.result, logits: one.result.logits.map(() => 20), focus: null });
    const objects = Array.from({ length: count }, (_, id) => ({ ...one, id, result: whole() }));
    let cut = 0;
    window.OffscreenCanvas = class extends Own {
        constructor(...size) { super(...size); cut += 1; } };
    const counts = [0, 1].map(() => { cut = 0; painter.drawMasks(objects); return cut; });
    window.OffscreenCanvas = Own;
    const { width, height } = painter.layers.masks;
    return { counts, bytes: 4 * width * height }; }"""


def kept(tab: Tab, *steps: tuple[Any, ...]) -> list[Any]:
    seen: list[Any] = tab.page.evaluate(KEPT, [list(step) for step in steps])
    return seen


def test_what_went_unused_longest_is_dropped(tab: Tab) -> None:
    seen = kept(
        tab,
        *(("put", "a", 4000), ("put", "b", 4000), ("turn",), ("get", "a"), ("put", "c", 4000)),
        *(("get", "a"), ("get", "b"), ("get", "c"), ("bytes",)),
    )
    assert seen == ["a", "a", None, "c", 8000]


def test_what_is_drawn_in_this_round_stays(tab: Tab) -> None:
    seen = kept(
        tab,
        *(("turn",), ("put", "a", 6000), ("put", "b", 6000), ("get", "a"), ("get", "b")),
        *(("turn",), ("put", "b", 6000), ("get", "a"), ("get", "b"), ("bytes",)),
    )
    assert seen == ["a", None, None, "b", 6000]


def test_a_source_counts_once_and_nothing_is_too_small_to_count(tab: Tab) -> None:
    seen = kept(
        tab,
        *(("put", "heavy", 100), ("bytes",), ("blue", "heavy", 100), ("bytes",)),
        *(("turn",), *(("put", f"empty{n}", 0) for n in range(50)), ("bytes",)),
        *(("get", "heavy"), ("get", "empty49")),
    )
    assert seen[:2] == [9256, 9512]
    assert seen[2] <= 10_000
    assert seen[3:] == [None, None]  # the round alone fills it: its first ones stay


def test_many_large_masks_are_drawn_within_the_bound(tab: Tab) -> None:
    tab.click(0.45, 0.25)
    most = 192 << 20
    once = tab.page.evaluate(MANY, 1)
    assert once["counts"] == [1, 0]
    count = most // once["bytes"] + 20
    found = tab.page.evaluate(MANY, count)
    again = found["counts"][1]
    assert found["counts"][0] == count
    assert 20 <= again < count  # what did not fit is cut again, what fits is not
    assert (count - again) * found["bytes"] <= most
