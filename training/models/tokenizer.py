"""`training tokenizer`: corpus → one joint subword vocabulary with byte fallback, as a HF folder.

Byte-pair encoding (Sennrich et al. 2016) over temperature-sampled text (Conneau et al. 2020);
characters outside the vocabulary are spelt in bytes, so no text is ever unknown.
"""

import json
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import tokenizers
from pydantic import Field
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from langmod.config import Frozen, RunConfig
from langmod.errors import ConfigError
from langmod.languages import canonical
from training.data.corpus import corpus_digest, corpus_languages, read_text

# The order of XLM-R and M2M100; the mask comes last.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
SPACE = "▁"
# Runs of punctuation and symbols, with the space before them, are words of their own.
PUNCTUATION = r"▁?[\p{P}\p{S}&&[^▁]]+"


class Limits(Frozen):
    """What a vocabulary must reach on the dev text of every language."""

    unknown_rate: float = 0.0
    """Unknown tokens as a share of all tokens."""
    byte_rate: float = 0.02
    """Byte tokens as a share of all tokens."""
    tokens_per_character: float = 0.8
    tokens_per_word: float = 4.0


class TokenizerConfig(RunConfig):
    """How a vocabulary is learnt and what it must reach."""

    corpus: Path
    output: Path
    kind: Literal["encoder", "translator"]
    """An encoder puts ``<s> A </s>`` around a text; a translator ends it with ``</s>``."""
    vocabulary: int = Field(ge=len(SPECIAL) + len(BYTES) + 2)
    """Entries in all, special tokens and bytes included."""
    languages: tuple[str, ...] = ()
    """The languages of the corpus to learn from; all when empty."""
    language_tokens: tuple[str, ...] = ()
    """Tags that get a token of their own, ``mn`` as ``__mn__``."""
    exponent: float = Field(default=0.3, ge=0, le=1)
    """A language of n characters is sampled in proportion to n to this power."""
    sample_characters: int = 20_000_000
    character_coverage: float = Field(default=0.9999, gt=0, le=1)
    """The rarest characters beyond this share are left to the bytes."""
    max_length: int = 512
    limits: Limits = Limits()
    seed: int = 1


class LanguageReport(Frozen):
    """How a vocabulary cuts the dev text of one language."""

    language: str
    tokens_per_word: float
    tokens_per_character: float
    unknown_rate: float
    byte_rate: float


class TokenizerCard(Frozen):
    """What a vocabulary was learnt from and how it cuts each language; written as card.json."""

    kind: str
    vocabulary: int
    corpus_digest: str
    sampled_characters: Mapping[str, int]
    languages: tuple[LanguageReport, ...]
    library: str
    config: Mapping[str, object]

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """One line per language."""
        lines = ["language  tokens/word  tokens/char  unknown  bytes"]
        lines += [
            f"{report.language:8}  {report.tokens_per_word:11.3f}"
            f"  {report.tokens_per_character:11.3f}"
            f"  {report.unknown_rate:7.3%}  {report.byte_rate:6.3%}"
            for report in self.languages
        ]
        return "\n".join(lines)


def train_tokenizer(config: TokenizerConfig) -> TokenizerCard:
    """Learns a vocabulary, measures it and writes it only when it is within the limits.

    Raises:
        ConfigError: a language cut worse than the limits allow; every fault is listed.
        DataError: a language that the corpus does not have.
    """
    languages = config.languages or tuple(corpus_languages(config.corpus))
    languages = tuple(canonical(tag) for tag in languages)
    samples = sample_text(config, languages)
    tokenizer = assemble(learn_pieces(samples, config), config)
    reports = [report(tokenizer, tag, read_text(config.corpus, tag, "dev")) for tag in languages]
    card = TokenizerCard(
        kind=config.kind,
        vocabulary=tokenizer.get_vocab_size(),
        corpus_digest=corpus_digest(config.corpus),
        sampled_characters={tag: sum(map(len, texts)) for tag, texts in samples.items()},
        languages=tuple(reports),
        library=f"tokenizers {tokenizers.__version__}",
        config=config.model_dump(mode="json"),
    )
    check_limits(card, config.limits)
    save_tokenizer(tokenizer, config)
    (config.output / "card.json").write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return card


def sample_text(config: TokenizerConfig, languages: Sequence[str]) -> dict[str, list[str]]:
    """Random training sentences of each language, as many characters as its share is."""
    texts = {tag: read_text(config.corpus, tag, "train") for tag in languages}
    weights = {tag: sum(map(len, lines)) ** config.exponent for tag, lines in texts.items()}
    generator = random.Random(config.seed)
    samples: dict[str, list[str]] = {}
    for tag, lines in texts.items():
        budget = config.sample_characters * weights[tag] / sum(weights.values())
        generator.shuffle(lines)
        samples[tag] = take(lines, budget)
    return samples


def take(lines: Sequence[str], budget: float) -> list[str]:
    """The first lines up to a number of characters, at least one."""
    taken: list[str] = []
    for line in lines:
        if budget <= 0:
            break
        taken.append(line)
        budget -= len(line)
    return taken


def blank_tokenizer(model: models.BPE) -> Tokenizer:
    """NFKC, words with their leading space as ``▁``, digits one by one, and the way back."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="first"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(PUNCTUATION), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def learn_pieces(samples: Mapping[str, list[str]], config: TokenizerConfig) -> models.BPE:
    """The merges that the sample calls for, in a vocabulary of specials, bytes and pieces."""
    lines = [line for texts in samples.values() for line in texts]
    fixed = len(SPECIAL) + len(BYTES) + len(config.language_tokens) + 1
    learner = blank_tokenizer(models.BPE())
    # The trainer's own choice among characters of one count differs from run to run.
    alphabet = covering_alphabet(lines, config.character_coverage)
    trainer = BpeTrainer(
        vocab_size=config.vocabulary - fixed,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    learner.train_from_iterator(lines, trainer)
    learnt = json.loads(learner.to_str())["model"]
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *BYTES, *pieces))}
    merges = [(left, right) for left, right in learnt["merges"]]
    return models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True)


def covering_alphabet(lines: Sequence[str], coverage: float) -> list[str]:
    """The most frequent characters that make up this share of the text; of like ones the first."""
    counts: Counter[str] = Counter()
    normalise = normalizers.NFKC().normalize_str
    for line in lines:
        counts.update(normalise(line).replace(" ", SPACE))
    needed = math.floor(coverage * counts.total())
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    for size, (_, count) in enumerate(ranked, 1):
        needed -= count
        if needed <= 0:
            return [character for character, _ in ranked[:size]]
    return [character for character, _ in ranked]


def assemble(model: models.BPE, config: TokenizerConfig) -> Tokenizer:
    """The tokenizer of a base: special, language and mask tokens, and what surrounds a text."""
    tokenizer = blank_tokenizer(model)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False) for token in language_tokens(config)]
    )
    # The space before a mask belongs to it, as in XLM-R: "a <mask>" and "a<mask>" are one thing.
    tokenizer.add_special_tokens([AddedToken(MASK, lstrip=True, normalized=False)])
    single, pair = ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
    if config.kind == "translator":
        single, pair = ("$A </s>", "$A $B </s>")
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=ends)
    return tokenizer


def language_tokens(config: TokenizerConfig) -> list[str]:
    """``__mn__`` for ``khk``."""
    return [f"__{canonical(tag)}__" for tag in config.language_tokens]


def report(tokenizer: Tokenizer, language: str, texts: Sequence[str]) -> LanguageReport:
    """Fertility and rates of unknown and byte tokens over some texts; words end at spaces."""
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    tokens = Counter(token for encoding in encodings for token in encoding.tokens)
    total = max(1, tokens.total())
    return LanguageReport(
        language=language,
        tokens_per_word=total / max(1, sum(len(text.split()) for text in texts)),
        tokens_per_character=total / max(1, sum(map(len, texts))),
        unknown_rate=tokens["<unk>"] / total,
        byte_rate=sum(tokens[byte] for byte in BYTES) / total,
    )


def check_limits(card: TokenizerCard, limits: Limits) -> None:
    """Refuses a vocabulary that cuts some language worse than allowed.

    Raises:
        ConfigError: with every fault and the table.
    """
    faults = [
        f"{report.language}: {name} {getattr(report, name):.4f} > {allowed}"
        for report in card.languages
        for name, allowed in limits.model_dump().items()
        if getattr(report, name) > allowed
    ]
    if faults:
        hint = "raise vocabulary, sample_characters or limits"
        raise ConfigError(f"limits: {'; '.join(faults)}; {hint}\n{card.table()}")


def save_tokenizer(tokenizer: Tokenizer, config: TokenizerConfig) -> None:
    """Writes the folder that ``AutoTokenizer.from_pretrained`` reads."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        mask_token=AddedToken(MASK, lstrip=True, normalized=False, special=True),
        additional_special_tokens=language_tokens(config),
        model_max_length=config.max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    config.output.mkdir(parents=True, exist_ok=True)
    wrapped.save_pretrained(str(config.output))
