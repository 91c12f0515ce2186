"""Ten thousand random rows under load, eviction, publication and removal: none hears of another.

Requests name modules; a store with every version that was ever published gives each row's answer
alone, through an engine where nothing leaves and nothing is in the same batch.
"""

import asyncio
import itertools
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from adaptation.methods import METHODS
from langmod.errors import LangmodError, UnknownModule
from langmod.specs import ROW_TOLERANCE, GraphSpec
from langmod.store import ModuleStore
from langmod.tasks import TASKS
from service.encoder import EncoderEngine
from service.schemas import ClassifyRequest, EmbedRequest, FillMaskRequest, TagRequest
from service.settings import Settings
from service.translator import TranslatorEngine
from service.translator_schemas import TranslateRequest
from tests.service.published import ENTITIES, TOPICS, learnt, publish
from tests.text import SENTENCES

LINES = tuple(line for lines in SENTENCES.values() for line in lines)
ENCODER_ROWS, TRANSLATOR_ROWS = 9_000, 1_000
CLIENTS = 12
RANKS = {"fp32": (1, 5), "int8": (3, 3)}
"""Of each method's two modules. A wider neighbour changes the order of sums in fp32, and what that
does to the last bit may move a rounding to 8 bits by a whole step; equal ranks never do."""
PROMPTS = (2, 7)
"""Lengths of the soft prompts."""
VOCABULARIES = (330, 500)
"""Tokens of the modules that bring their own."""
HEADS = {
    "topic": {"kind": "classify", "labels": TOPICS},
    "mood": {"kind": "classify", "labels": TOPICS[:2], "pooling": "mean"},
    "ner": {"kind": "tag", "labels": ENTITIES},
}
SCALE = 0.2
"""Of random modules: strong enough to change answers, too weak to magnify the last bit's rounding,
which follows the ranks of the neighbours."""
CRAMPED = {"slots": 4, "module_bytes": 400_000, "refuse_seconds": 0.0, "batch_texts": 24}
"""Fewer places than modules in every kind of memory, so that all of them come and go."""


class Fleet:
    """Modules of every method in two versions, of which the served store shows one at a time."""

    def __init__(
        self, folder: Path, everything: Path, chance: random.Random, precision: str
    ) -> None:
        self.folder, self.chance, self.ranks = folder, chance, RANKS[precision]
        self.served = ModuleStore(folder / "modules")
        self.everything = everything / "modules"
        self.specs: dict[str, dict] = {}
        self.doomed: set[str] = set()
        graphs = GraphSpec.load(folder / "onnx" / "fp32")
        self.encoder = graphs.base.kind == "encoder"
        firsts = {(bank.role, bank.tensor.split(".")[0]) for bank in graphs.banks if not bank.marks}
        self.methods = sorted({each for each in firsts if each[1] not in TASKS})
        assert {method for _, method in self.methods} == {
            name
            for name, method in METHODS.items()
            if method.unfit(graphs.base.kind, "language") is None
        }

    def kinds(self):
        """Role, method, which of its two modules, and what is particular to that one."""
        return [
            (role, method, number, self.particular(method, number))
            for (role, method), number in itertools.product(self.methods, (0, 1))
        ]

    def particular(self, method: str, number: int) -> dict:
        if method == "xpt":
            return {"words": learnt(LINES, VOCABULARIES[number])}
        if method == "soft_prompt":
            return {"rank": PROMPTS[number]}
        around = number == 1 and method.endswith("bottleneck")
        return {"rank": self.ranks[number], "invertible": around and self.encoder}

    def add(self, name: str, doomed: bool, **spec) -> None:
        """Publishes both versions for the oracle and the first one for the service."""
        self.specs[name] = spec
        self.publish(name, version=1, store=self.everything)
        self.publish(name, version=0, store=self.everything)
        self.publish(name, version=0)
        if doomed:
            self.doomed.add(name)

    def publish(self, name: str, version: int, store: Path | None = None) -> str:
        seed = sum(map(ord, name)) + 1000 * version
        return publish(self.folder, name, seed=seed, store=store, scale=SCALE, **self.specs[name])

    def change_something(self) -> None:
        """Publishes the other version of a module, or takes a doomed one away for a while."""
        name = self.chance.choice(sorted(self.specs))
        try:
            gone = name in self.doomed and self.chance.random() < 0.5
            self.served.remove(name) if gone else self.publish(name, self.chance.randrange(2))
        except UnknownModule:
            self.publish(name, 0)


def some_text(chance: random.Random) -> str:
    """One word or a few sentences."""
    words = " ".join(chance.choice(SENTENCES[chance.choice(sorted(SENTENCES))]).split()).split()
    return " ".join(words[: chance.randint(1, len(words))])


def encoder_fleet(*about):
    fleet = Fleet(*about)
    for role, method, number, particular in fleet.kinds():
        name = f"{method}-{number}"
        if role == "language":
            own = {"role": role, "method": method, "languages": ("qu",), **particular}
            fleet.add(name, number == 1, **own)
            continue
        for task, head in HEADS.items():
            body = f"{method}+{head['kind']}"
            about = {"task": task, "languages": ("*",), **head, **particular}
            fleet.add(f"{task}-{name}", task == "mood", role=role, method=body, **about)
    return fleet


def encoder_requests(fleet, chance):
    """Kind, texts and module names, over a few texts so that answers alone can be kept."""
    languages = [None, *(name for name, spec in fleet.specs.items() if spec["role"] == "language")]
    texts = [some_text(chance) for _ in range(12)]
    while True:
        kind = chance.choice(["fill_mask", "embed", *HEADS, *HEADS])
        named = [chance.choice(languages)]
        if kind in HEADS:
            named.append(chance.choice([n for n in fleet.specs if n.startswith(f"{kind}-")]))
        yield kind, chance.choices(texts, k=chance.randint(1, 6)), [n for n in named if n]


async def ask_encoder(engine, kind, texts, modules):
    named = {"texts": texts, "language": "en", "modules": modules}
    if kind == "fill_mask":
        named["texts"] = [f"{text} <mask>" for text in texts]
        return await engine.ask(kind, FillMaskRequest(**named, top_k=3))
    if kind == "embed":
        return await engine.ask(kind, EmbedRequest(**named))
    asked = TagRequest if HEADS[kind]["kind"] == "tag" else ClassifyRequest
    return await engine.ask(HEADS[kind]["kind"], asked(**named))


def translator_fleet(*about):
    fleet = Fleet(*about)
    for role, method, number, particular in fleet.kinds():
        if role == "language":
            about = {"source": "en", "target": "ko", **particular}
            fleet.add(f"{method}-{number}", number == 1, role=role, method=method, **about)
    return fleet


def translator_requests(fleet, chance):
    texts = [some_text(chance) for _ in range(8)]
    while True:
        some = chance.choices(texts, k=chance.randint(1, 4))
        yield chance.choice(["1", "3"]), some, [chance.choice(sorted(fleet.specs))]


async def ask_translator(engine, kind, texts, modules):
    request = TranslateRequest(
        texts=texts, source="en", target="ko", beams=int(kind), n_best=1, max_length=8,
        modules=modules,
    )  # fmt: skip
    return await engine.translate(request)


def assert_same(got, expected, where):
    """Equal, numbers within the tolerance of a row."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), where
        for key in expected:
            assert_same(got[key], expected[key], where)
    elif isinstance(expected, list) and expected and isinstance(expected[0], float):
        np.testing.assert_allclose(got, expected, atol=ROW_TOLERANCE, rtol=0, err_msg=str(where))
    elif isinstance(expected, list):
        assert len(got) == len(expected), where
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other, where)
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, abs=ROW_TOLERANCE), where
    else:
        assert got == expected, where


class Trial:
    """Clients, a publisher, and the answers of the oracle."""

    def __init__(self, tested, oracle, ask, fleet, requests) -> None:
        self.tested, self.oracle, self.ask = tested, oracle, ask
        self.fleet, self.requests = fleet, requests
        self.alone: dict[tuple, dict] = {}
        self.counts: Counter[str] = Counter()
        self.versions: set[str] = set()

    async def run(self, rows: int) -> None:
        publisher = asyncio.create_task(self._publish())
        await asyncio.gather(*(self._client(rows) for _ in range(CLIENTS)))
        publisher.cancel()

    async def _publish(self) -> None:
        while True:
            await asyncio.to_thread(self.fleet.change_something)
            await asyncio.sleep(0.03)

    async def _client(self, rows: int) -> None:
        while self.counts["right"] < rows:
            kind, texts, modules = next(self.requests)
            try:
                answers = await self.ask(self.tested, kind, texts, modules)
            except UnknownModule as error:
                answers = [error] * len(texts)
            for text, answer in zip(texts, answers, strict=True):
                if isinstance(answer, UnknownModule):
                    assert self.fleet.doomed & set(modules), modules
                    self.counts["refused"] += 1
                else:
                    await self._check(kind, text, answer, modules)

    async def _check(self, kind, text, answer, modules) -> None:
        if isinstance(answer, LangmodError):
            raise answer
        served = tuple(answer["modules"])
        assert [key.partition("@")[0] for key in served] == modules
        key = (kind, text, served)
        if key not in self.alone:
            (self.alone[key],) = await self.ask(self.oracle, kind, [text], list(served))
        assert_same(answer, self.alone[key], key)
        self.versions.update(served)
        self.counts["right"] += 1

    def modules_matter(self) -> bool:
        """Whether most modules, and versions, gave a text another answer than the rest did."""
        by_text: dict[tuple, list[dict]] = {}
        for (kind, text, served), answer in self.alone.items():
            own = {key: value for key, value in answer.items() if key != "modules"}
            by_text.setdefault((kind, text, len(served)), []).append(own)
        alike = [one == other for own in by_text.values() for one, other in itertools.pairwise(own)]
        return len(alike) > 100 and sum(alike) < len(alike) / 3


WAYS = {
    "encoder": (EncoderEngine, encoder_fleet, encoder_requests, ask_encoder, ENCODER_ROWS),
    "translator": (
        TranslatorEngine, translator_fleet, translator_requests, ask_translator, TRANSLATOR_ROWS
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
async def test_rows_never_hear_of_each_other(kind, precision, request, tmp_path):
    import shutil

    opened, fleet_of, requests_of, ask, rows = WAYS[kind]
    base = request.getfixturevalue(f"tiny_{kind}")
    folder, everything = (tmp_path / name / base.name for name in ("served", "everything"))
    for each in (folder, everything):
        shutil.copytree(base, each)
    chance = random.Random(7)
    fleet = fleet_of(folder, everything, chance, precision)
    usual = {"models": tmp_path, "precision": precision, "threads": 1}
    tested = opened(folder, Settings(**usual, **CRAMPED), None)
    oracle = opened(everything, Settings(**usual, slots=512), None)
    try:
        trial = Trial(tested, oracle, ask, fleet, requests_of(fleet, chance))
        await trial.run(rows // 2)
        events = Counter()
        for slots in tested.bank.roles.values():
            events.update(slots.events)
    finally:
        tested.close()
        oracle.close()
    # It was as rough as it should be.
    assert trial.counts["refused"] > 0
    assert events["eviction"] > 30
    assert len(trial.versions) > 3 + len({key.partition("@")[0] for key in trial.versions})
    assert trial.modules_matter()
