"""The README's examples: ``make readme`` shows in each what the service answers now.

A `bash` block with a `curl`, then a `json` block with its answer. In an answer `…` stands for what
is left out: the rest of a list, or further fields as `"…": "…"`; what is left out stays so.
"""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.running_service import SERVICE, running

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EXAMPLE = re.compile(r"```bash\n(curl [^`]+)```\n+```json\n([^`]+)```")
REST = "…"
WIDTH = 110


@dataclass(frozen=True)
class Example:
    """A request the README shows, and its answer."""

    endpoint: str
    body: str | None
    answer: object


def parse(command, answer):
    words = shlex.split(command.replace("\\\n", " "))
    (address,) = (word for word in words if word.startswith("http://"))
    body = words[words.index("-d") + 1] if "-d" in words else None
    return Example(httpx.URL(address).path.strip("/"), body, json.loads(answer))


def examples(text):
    return [parse(*found) for found in EXAMPLE.findall(text)]


def ask(address, example):
    """What the service at an address answers to an example's request."""
    url = f"{address}/{example.endpoint}"
    if example.body is None:
        return httpx.get(url, timeout=60).json()
    return httpx.post(url, content=example.body, timeout=60).json()


def service():
    """The service over the shipped models."""
    return running(SERVICE, {"LANGMOD_MODELS": str(ROOT / "models")})


def shortened(got, shown):
    """An answer without what the shown one leaves out."""
    if isinstance(shown, dict) and isinstance(got, dict):
        kept = {key: value for key, value in got.items() if key in shown or REST not in shown}
        short = {key: shortened(value, shown.get(key)) for key, value in kept.items()}
        return short | ({REST: REST} if REST in shown else {})
    if isinstance(shown, list) and isinstance(got, list):
        if shown[-1:] == [REST]:
            pairs = zip(got, shown[:-1], strict=False)
            return [shortened(one, other) for one, other in pairs] + [REST]
        likes = shown + [shown[-1] if shown else None] * len(got)
        return [shortened(one, other) for one, other in zip(got, likes, strict=False)]
    return got


def layout(value, indent=0):
    """JSON with each part on one line where it fits."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= WIDTH or not isinstance(value, dict | list) or not value:
        return line
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        parts = [
            f"{pad}{json.dumps(key, ensure_ascii=False)}: {layout(part, indent + 2)}"
            for key, part in value.items()
        ]
    else:
        parts = [pad + layout(part, indent + 2) for part in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return f"{opened}\n" + ",\n".join(parts) + f"\n{' ' * indent}{closed}"


def refreshed(text, address):
    """The README's text with the answers of the service at an address."""

    def answered(found):
        example = parse(*found.groups())
        answer = layout(shortened(ask(address, example), example.answer))
        return f"```bash\n{found[1]}```\n\n```json\n{answer}\n```"

    return EXAMPLE.sub(answered, text)


if __name__ == "__main__":
    with service() as started:
        text = refreshed(README.read_text("utf-8"), started.address)
    README.write_text(text, encoding="utf-8")
