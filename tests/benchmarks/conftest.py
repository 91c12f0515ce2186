"""A models folder with modules, and a small experiment on it."""

import shutil

import pytest

from benchmarks.experiment import Experiment
from tests.service.published import publish_fleet


@pytest.fixture
def models(tiny_encoder, tmp_path):
    folder = tmp_path / "models" / tiny_encoder.name
    shutil.copytree(tiny_encoder, folder)
    publish_fleet(folder)
    return folder.parent


@pytest.fixture
def experiment(models):
    return Experiment.model_validate(
        {
            "name": "small",
            "title": "Small",
            "models": models,
            "threads": 1,
            "work": [{"endpoint": "fill_mask", "languages": ["mn", "ko", "en"]}],
            "requests": 3,
            "texts": 2,
            "concurrencies": [1, 4],
            "repetitions": 2,
        }
    )
