import threading
import weakref

import numpy as np
import pytest

from langmod.errors import BrokenModule
from service.cache import ModuleCache
from tests.service.modules import module


class Disk:
    def __init__(self):
        self.loads = []
        self.broken = set()
        self.state = 0

    def stamp(self, name, digest):
        return self.state

    def load(self, name, digest):
        self.loads.append(name)
        if name in self.broken:
            raise BrokenModule(f"{name} is damaged")
        return module(name, digest=digest)


def test_least_recently_used_leaves_beyond_the_budget():
    disk = Disk()
    cache = ModuleCache(disk.load, disk.stamp, budget=2 * module("a").nbytes, refuse_seconds=1)
    for name in "abacab":
        assert cache.get(name, "d").manifest.name == name
    assert disk.loads == ["a", "b", "c", "b"]
    assert cache.nbytes == cache.budget


def test_a_module_larger_than_the_budget_is_still_served():
    disk = Disk()
    cache = ModuleCache(disk.load, disk.stamp, budget=1, refuse_seconds=1)
    assert cache.get("a", "d") is cache.get("a", "d")


def test_requests_at_once_share_one_load():
    release, loads = threading.Event(), []

    def slow(name, digest):
        loads.append(name)
        release.wait(5)
        return module(name, digest=digest)

    cache = ModuleCache(slow, Disk().stamp, budget=10**6, refuse_seconds=1)
    got = []
    threads = [threading.Thread(target=lambda: got.append(cache.get("a", "d"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    release.set()
    for thread in threads:
        thread.join()
    assert loads == ["a"]
    assert len(got) == 8
    assert len({id(each) for each in got}) == 1


def test_a_broken_module_is_refused_from_memory_until_it_expires():
    disk, now = Disk(), [0.0]
    cache = ModuleCache(disk.load, disk.stamp, budget=10**6, refuse_seconds=5, clock=lambda: now[0])
    disk.broken.add("a")
    for _ in range(3):
        with pytest.raises(BrokenModule, match="a is damaged"):
            cache.get("a", "d")
    assert disk.loads == ["a"]
    disk.broken.clear()
    now[0] = 5.0
    assert cache.get("a", "d").manifest.name == "a"


def test_a_broken_module_is_read_again_once_its_files_change():
    disk = Disk()
    cache = ModuleCache(disk.load, disk.stamp, budget=10**6, refuse_seconds=5)
    disk.broken.add("a")
    with pytest.raises(BrokenModule, match="a is damaged"):
        cache.get("a", "d")
    disk.broken.clear()
    disk.state += 1
    assert cache.get("a", "d").manifest.name == "a"


def test_what_was_refused_is_forgotten_in_time_and_holds_no_file():
    now, payloads = [0.0], []

    def load(name, digest):
        payload = np.zeros(9)
        payloads.append(weakref.ref(payload))
        try:
            payload[name] = 1
        except IndexError as error:
            raise BrokenModule(f"{name} is damaged") from error

    cache = ModuleCache(load, Disk().stamp, budget=1, refuse_seconds=5, clock=lambda: now[0])
    for name in "abc":
        with pytest.raises(BrokenModule, match=f"{name} is damaged"):
            cache.get(name, "d")
        now[0] += 3
    assert [name for name, _ in cache._refused] == ["b", "c"]
    assert [payload() for payload in payloads] == [None] * 3


def test_a_fault_of_the_disk_makes_nobody_wait_afterwards():
    disk, faults = Disk(), [PermissionError("the disk"), None]

    def stamp(name, digest):
        fault = faults.pop(0)
        if fault:
            raise fault

    cache = ModuleCache(disk.load, stamp, budget=10**6, refuse_seconds=5)
    with pytest.raises(PermissionError, match="the disk"):
        cache.get("a", "d")
    assert cache.get("a", "d").manifest.name == "a"
