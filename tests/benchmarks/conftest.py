"""A models folder with modules, and what experiments on it say."""

import shutil

import pytest

from benchmarks.kinds import KINDS
from tests.service.published import publish_fleet


@pytest.fixture
def models(tiny_encoder, tmp_path):
    folder = tmp_path / "models" / tiny_encoder.name
    shutil.copytree(tiny_encoder, folder)
    publish_fleet(folder)
    return folder.parent


@pytest.fixture
def small(models):
    """An experiment of a kind, with some fields."""

    def made(kind, **fields):
        usual = {"name": "small", "title": "Small", "models": models, "threads": 1}
        return KINDS[kind].model_validate({**usual, "repetitions": 2, **fields})

    return made


@pytest.fixture
def of_copies(small):
    """An experiment on nine copies of a module."""

    def made(kind, **fields):
        usual = {
            "base": "tiny-encoder",
            "module": "mn-bottleneck",
            "copies": 9,
            "work": {"endpoint": "fill_mask", "languages": ["mn", "ko"], "body": {"top_k": 3}},
            "concurrency": 4,
        }
        return small(kind, **{**usual, **fields})

    return made
