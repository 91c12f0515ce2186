"""A question and its answer for each endpoint, as the description of the interface shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Example = Mapping[str, Any]


@dataclass(frozen=True)
class Exchange:
    """What an endpoint is asked, and what it answers to the first of the questions."""

    requests: Mapping[str, Example]
    answers: Mapping[str, Example]


def _answers(*results: Example) -> Mapping[str, Example]:
    return {"answer": {"results": list(results)}}


EXAMPLES: Mapping[str, Exchange] = {
    "/fill_mask": Exchange(
        {
            "a mask": {"texts": "Сайн <mask> уу?", "language": "mn", "top_k": 1},
            "language detected": {"texts": ["안녕 <mask>", "Kaixo <mask>"]},
        },
        _answers(
            {
                "modules": ["mn-bottleneck@60384fa1e7d9"],
                "language": "mn",
                "masks": [[{"token": "байна", "score": 0.61, "text": "Сайн байна уу?"}]],
            }
        ),
    ),
    "/classify": Exchange(
        {
            "texts": {"texts": ["대통령이 새 정부를 발표했다."], "task": "topic"},
            "pairs": {
                "texts": [["비가 온다.", "날씨가 맑다."]],
                "task": "nli",
                "language": "ko",
            },
        },
        _answers(
            {
                "modules": ["ko-bottleneck@dc4270f7a57b", "topic-bottleneck@a9d94d310417"],
                "language": "ko",
                "language_probability": 1.0,
                "label": "politics",
                "labels": [
                    {"label": "politics", "score": 0.98},
                    {"label": "travel", "score": 0.02},
                ],
            },
        ),
    ),
    "/tag": Exchange(
        {"entities": {"texts": ["김연아는 금메달을 땄다."], "task": "ner", "language": "ko-KR"}},
        _answers(
            {
                "modules": ["ko-bottleneck@dc4270f7a57b", "ner-ko-bottleneck@5d8ed85bf319"],
                "language": "ko",
                "spans": [{"label": "PS", "start": 0, "end": 3, "text": "김연아", "score": 0.75}],
            }
        ),
    ),
    "/embed": Exchange(
        {"vectors": {"texts": ["Ogia eta esnea"], "language": "eu"}},
        _answers(
            {"modules": ["eu-bottleneck@8680e1c8de78"], "language": "eu", "vector": [0.6, -0.8]}
        ),
    ),
    "/translate": Exchange(
        {
            "translation": {"texts": ["Файлыг хадгалж чадсангүй."], "source": "mn", "target": "en"},
            "source detected": {"texts": "문서를 저장할 수 없습니다.", "target": "en", "beams": 4},
        },
        _answers(
            {
                "modules": ["mn-en-bottleneck@f66fee686fd3"],
                "source": "mn",
                "source_tokens": 9,
                "target": "en",
                "translation": "Could not save the file.",
                "translations": [
                    {"text": "Could not save the file.", "score": -0.4, "tokens": 8, "cut": False}
                ],
                "sentences": 1,
            }
        ),
    ),
    "/back_translate": Exchange(
        {"pairs": {"texts": ["문서를 저장할 수 없습니다."], "language": "ko", "pivot": "en"}},
        _answers(
            {
                "modules": ["ko-en-bottleneck@4743b36284ec", "en-ko-bottleneck@a368677a1ee2"],
                "language": "ko",
                "pivot": "en",
                "signature": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0",
                "pairs": [
                    {
                        "source": "The document cannot be saved.",
                        "target": "문서를 저장할 수 없습니다.",
                        "score": -0.5,
                        "round_trip": "문서를 저장할 수 없습니다.",
                        "chrf": 100.0,
                        "length_ratio": 1.25,
                        "keep": True,
                        "reasons": [],
                    }
                ],
            }
        ),
    ),
}
LISTINGS: Mapping[str, Mapping[str, Example]] = {
    "/languages": {
        "languages": {
            "languages": [
                {
                    "language": "ko",
                    "name": "Korean",
                    "bases": {
                        "mini-encoder": {
                            "kind": "encoder",
                            "trained_on": True,
                            "modules": ["ko-bottleneck"],
                        }
                    },
                }
            ]
        }
    },
    "/tasks": {
        "tasks": {
            "tasks": [
                {
                    "task": "ner",
                    "kind": "tag",
                    "modules": [
                        {
                            "name": "ner-ko-bottleneck",
                            "languages": ["ko"],
                            "labels": ["O", "B-PS", "I-PS"],
                        }
                    ],
                }
            ]
        }
    },
    "/modules": {"modules": {"bases": []}},
}
