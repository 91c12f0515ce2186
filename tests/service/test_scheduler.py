import asyncio
import threading
from dataclasses import dataclass

import pytest

from langmod.errors import BadRequest, Overloaded, Unavailable
from service.scheduler import Limits, Scheduler


@dataclass(eq=False)
class Row:
    text: str
    language: str = "mn"
    length: int = 8


class Engine:
    """Answers in capitals; can be held; ``bad`` fails alone and ``poison`` fails its batch."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Event()

    def run(self, rows):
        self.running.set()
        assert self.gate.wait(10)
        self.batches.append([row.text for row in rows])
        if any(row.text == "poison" for row in rows):
            raise RuntimeError("onnxruntime fell over")
        return [BadRequest("bad row") if row.text == "bad" else row.text.upper() for row in rows]


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def scheduler(engine):
    scheduler = Scheduler("tiny", engine.run, Limits(queued_rows=10, batch_rows=4, batch_tokens=64))
    yield scheduler
    engine.gate.set()
    scheduler.close()


running = set()


def start(answers):
    task = asyncio.ensure_future(answers)
    running.add(task)
    task.add_done_callback(running.discard)
    return task


async def held(engine, scheduler):
    """Keeps the worker busy with one row, so that what follows must wait."""
    engine.gate.clear()
    first = start(scheduler.submit([Row("first")]))
    await asyncio.to_thread(engine.running.wait, 5)
    return first


async def test_answers_come_in_order(scheduler):
    rows = [Row(f"t{index}", "ko" if index % 3 else "mn", 1 + index % 40) for index in range(10)]
    assert await scheduler.submit(rows) == [row.text.upper() for row in rows]


async def test_requests_that_wait_together_share_batches(engine, scheduler):
    first = await held(engine, scheduler)
    others = [start(scheduler.submit([Row(name, name)])) for name in "abc"]
    await asyncio.sleep(0)
    engine.gate.set()
    assert await asyncio.gather(first, *others) == [["FIRST"], ["A"], ["B"], ["C"]]
    assert engine.batches == [["first"], ["a", "b", "c"]]


async def test_a_bad_row_is_answered_by_itself(scheduler):
    good, bad, other = await scheduler.submit([Row("x"), Row("bad"), Row("y")])
    assert (good, other) == ("X", "Y")
    assert isinstance(bad, BadRequest)


async def test_only_the_culprit_of_a_failed_batch_fails(engine, scheduler):
    first = await held(engine, scheduler)
    innocent = start(scheduler.submit([Row("a", "ko"), Row("b", "kk")]))
    guilty = start(scheduler.submit([Row("poison")]))
    await asyncio.sleep(0)
    engine.gate.set()
    await first
    assert await innocent == ["A", "B"]
    assert isinstance((await guilty)[0], RuntimeError)
    assert sorted(engine.batches[1]) == ["a", "b", "poison"]


async def test_beyond_the_bound_a_request_is_refused_as_a_whole(engine, scheduler):
    first = await held(engine, scheduler)
    waiting = start(scheduler.submit([Row("a") for _ in range(8)]))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match=r"8 texts wait .* 3 more were sent; at most 10") as caught:
        await scheduler.submit([Row("b") for _ in range(3)])
    assert 1 <= caught.value.retry_after <= 60
    last = start(scheduler.submit([Row("c") for _ in range(2)]))
    await asyncio.sleep(0)
    assert scheduler.waiting == 10
    engine.gate.set()
    await asyncio.gather(first, waiting, last)


async def test_a_request_larger_than_the_queue_is_served_when_nobody_waits(scheduler):
    assert len(await scheduler.submit([Row("a") for _ in range(25)])) == 25


async def test_the_rows_of_a_cancelled_request_leave(engine, scheduler):
    first = await held(engine, scheduler)
    gone = start(scheduler.submit([Row("gone") for _ in range(9)]))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    kept = start(scheduler.submit([Row("kept") for _ in range(9)]))
    await asyncio.sleep(0)
    assert scheduler.waiting == 9
    engine.gate.set()
    await asyncio.gather(first, kept)
    assert not any("gone" in batch for batch in engine.batches)


async def test_closing_fails_what_waits_and_refuses_what_comes(engine, scheduler):
    first = await held(engine, scheduler)
    waiting = start(scheduler.submit([Row("a")]))
    await asyncio.sleep(0)
    closing = asyncio.create_task(asyncio.to_thread(scheduler.close))
    answer = await waiting
    assert isinstance(answer[0], Unavailable)
    engine.gate.set()
    await asyncio.gather(first, closing)
    assert not scheduler.alive
    with pytest.raises(Unavailable, match="base tiny is stopping"):
        await scheduler.submit([Row("late")])


async def test_an_engine_that_answers_too_few_rows_is_an_error_not_a_mix_up():
    scheduler = Scheduler("short", lambda rows: ["one"], Limits())
    answers = await scheduler.submit([Row("a"), Row("b")])
    assert answers == ["one", "one"]
    scheduler.close()
