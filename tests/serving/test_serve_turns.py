"""Whose turn it is, and what memory allows: the queue of the server without its HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

pytest.importorskip("fastapi", reason="needs the extra [web]")

from mien.serving.memory import Budget
from mien.serving.metrics import Metrics
from mien.serving.refusals import Refusal
from mien.serving.settings import ServeSettings
from mien.serving.turns import Turns

MILLION = 1_000_000


def turns_of(**settings: float) -> tuple[Turns, Budget]:
    wanted = ServeSettings(threads=1, max_memory_mb=400, **settings)  # type: ignore[arg-type]
    metrics = Metrics()
    budget = Budget(wanted.max_memory_mb, wanted.client_share, metrics)
    return Turns(wanted, budget, metrics), budget


def order_of(jobs: list[tuple[str, str, int, int]]) -> list[str]:
    """The order in which jobs of (client, name, pixels, memory) run that wait while one thread is busy."""
    done: list[str] = []

    async def run() -> None:
        turns, _ = turns_of()
        go_on = threading.Event()
        first = [
            asyncio.create_task(turns.run("x", go_on.wait, pixels=pixels)) for pixels in (0, 0, 20 * MILLION)
        ]  # all threads are busy, and a small image waits at them
        await asyncio.sleep(0.05)

        def note(name: str) -> Callable[[], None]:
            return lambda: done.append(name)

        waiting = [
            asyncio.create_task(turns.run(client, note(name), pixels=pixels, memory=memory))
            for client, name, pixels, memory in jobs
        ]
        await asyncio.sleep(0.05)
        go_on.set()
        await asyncio.gather(*first, *waiting)
        turns.close()

    asyncio.run(run())
    return done


def test_clients_take_turns_by_pixels() -> None:
    many = [("a", f"a{number}", 4 * MILLION, 0) for number in range(4)]
    few = [("b", "b0", 4 * MILLION, 0), ("b", "b1", 4 * MILLION, 0)]
    assert order_of(many + few)[:4] in (["a0", "b0", "a1", "b1"], ["b0", "a0", "b1", "a1"])


def test_of_one_client_the_smallest_comes_first() -> None:
    assert order_of([("a", "large", 8 * MILLION, 0), ("a", "small", 1000, 0)]) == ["small", "large"]


def test_what_has_no_memory_waits_and_lets_others_by() -> None:
    async def run() -> list[str]:
        turns, budget = turns_of()
        done: list[str] = []
        budget.work(budget.limit - 10 * MILLION)
        waits = asyncio.create_task(turns.run("a", lambda: done.append("a"), memory=50 * MILLION))
        await turns.run("b", lambda: done.append("b"), memory=5 * MILLION)
        budget.work(-100 * MILLION)
        await turns.run("b", lambda: done.append("b"), memory=5 * MILLION)
        await waits
        turns.close()
        return sorted(done)

    assert asyncio.run(run()) == ["a", "b", "b"]


def test_what_cannot_be_ready_in_time_is_refused_at_once() -> None:
    turns, _ = turns_of()
    with turns.places("a", [50 * MILLION] * 2, time.monotonic() + 60):
        pass
    with (
        pytest.raises(Refusal, match="too busy to answer in time") as caught,
        turns.places("a", [50 * MILLION] * 32, time.monotonic() + 60),
    ):
        pass
    assert 1 <= int(caught.value.headers["retry-after"]) <= 60
    turns.close()


def test_a_client_has_its_share_of_received_bytes() -> None:
    _, budget = turns_of()
    with budget.received("a", 50 * MILLION) as take:
        with pytest.raises(Refusal, match="too many uploads"):
            take(20 * MILLION)
        with budget.received("b", MILLION // 2):  # a small one of another client
            pass
    with budget.received("b", 50 * MILLION):
        pass


def test_freed_memory_is_returned_where_no_work_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    resident, returned = [100 * MILLION], [0]
    monkeypatch.setattr("mien.serving.memory.resident_bytes", lambda: resident[-1])
    monkeypatch.setattr("mien.serving.memory._return_free_pages", lambda: returned.append(resident[-1] // MILLION))
    _, budget = turns_of()

    def return_freed(now: int) -> None:
        resident.append(now * MILLION)
        asyncio.run(budget.return_freed())

    return_freed(100)
    return_freed(149)  # some is kept for the next image
    assert returned == [0, 100]
    return_freed(300)
    return_freed(300)  # what can't be returned is not tried again
    assert returned == [0, 100, 300]
    with budget.received("a", 30 * MILLION):
        return_freed(370)  # 30 of which are an upload's
    assert returned == [0, 100, 300]
    return_freed(370)
    assert returned == [0, 100, 300, 370]
