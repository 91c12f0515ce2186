"""Soft prompts (Lester et al. 2021, arXiv 2104.08691): learned vectors in front of a row's words.

A language prompt stands before a task prompt, and both before the text (Vykopal et al. 2025, arXiv
2407.02317). They lie in no slot: whoever feeds the base puts them in front of the word vectors. The
checkpoint format is PEFT's.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Generator, Tensor

from adaptation import peft_folder
from adaptation.architectures import Architecture
from adaptation.bases import TOKENIZER_FILES
from adaptation.branching import SlotSource, gathered
from adaptation.foreign_settings import Fields, words
from adaptation.hooks import Hooks
from adaptation.methods.method import Method, MethodConfig, described
from adaptation.rows import Rows
from langmod.errors import BrokenModule, ConfigError, ModuleMismatch
from langmod.specs import PROMPT, ROLES, BankSpec, Role

KEY = "prompt_embeddings"
PEFT_TYPES = ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING")
"""PEFT's prompts of all kinds; those after the first are refused by name."""
TASK_TYPES = {
    "encoder": ("FEATURE_EXTRACTION", "SEQ_CLS", "TOKEN_CLS"),
    "translator": ("SEQ_2_SEQ_LM",),
}
"""The first of each is what is written; ``SEQ_CLS`` and ``TOKEN_CLS`` bring a head."""
FIELDS = peft_folder.FIELDS | Fields(
    served=words(
        "num_virtual_tokens token_dim num_transformer_submodules prompt_tuning_init "
        "prompt_tuning_init_text"
    ),
    idle=words("num_attention_heads num_layers tokenizer_name_or_path tokenizer_kwargs"),
)
"""The settings of PEFT's ``PromptTuningConfig``."""
MEAN_NOISE = 0.1
"""How far a start lies from the mean, in standard deviations of the base's word vectors."""
NOT_ZERO = 1e-6
"""What a vector of zeros becomes: nothing that an answer would show, and no padding."""


class SoftPromptConfig(MethodConfig):
    """Field names of PEFT's ``PromptTuningConfig``."""

    num_virtual_tokens: int = Field(default=20, ge=1)
    prompt_tuning_init: Literal["SAMPLE_VOCAB", "TEXT", "MEAN", "RANDOM"] = "SAMPLE_VOCAB"
    """What the vectors are at first: word vectors of the base drawn at random, those of a text, the
    mean of all with a little noise, or N(0, 1). PEFT knows no ``MEAN``."""
    prompt_tuning_init_text: str | None = None
    """``TEXT``: its tokens, special ones included, are repeated or cut to the prompt's length."""


class Prompts:
    """The prompts of both roles in front of rows; vectors of zeros are no position."""

    keeps_words = True

    def concerns(self, source: SlotSource) -> bool:
        """Whether a prompt of either role is loaded."""
        return any(source.find(f"{role}.{PROMPT}", None) for role in ROLES)

    def enter(self, rows: Rows, source: SlotSource) -> Rows:
        """Language prompt, task prompt, tokens, and all padding behind them."""
        vectors = _vectors(rows, source)  # [B, P, D]
        mask, order = _placed(vectors, rows)  # [B, P + T] each
        types = rows.token_types
        if types is not None:
            types = torch.cat([types.new_zeros(vectors.shape[:2]), types], 1).gather(1, order)
        words = torch.cat([vectors, rows.words], 1)
        return Rows(None, _taken(words, order), mask.gather(1, order), types)

    def leave(self, hidden: Tensor, rows: Rows, source: SlotSource) -> Tensor:
        """The tokens' own hidden states ``[B, T, D]``."""
        vectors = _vectors(rows, source)
        _, order = _placed(vectors, rows)
        return _taken(hidden, order.argsort(1)[:, vectors.shape[1] :])


def _vectors(rows: Rows, source: SlotSource) -> Tensor:
    """Each row's prompts side by side ``[B, P, D]``; shorter ones end in zeros."""
    found = [source.find(f"{role}.{PROMPT}", None) for role in ROLES]
    own = [gathered(each.bank, each.places) for each in found if each is not None]
    everyone = [each.expand(len(rows.words), -1, -1) for each in own]
    return torch.cat(everyone, 1).to(rows.words)


def _placed(vectors: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """The mask of ``[prompts][tokens]``, and the order that moves all padding to the end."""
    present = vectors.detach().ne(0).any(-1).to(rows.mask.dtype)  # [B, P]
    mask = torch.cat([present, rows.mask], 1)
    return mask, mask.argsort(dim=1, descending=True, stable=True)


def _taken(vectors: Tensor, places: Tensor) -> Tensor:
    """``[B, N, D]`` of vectors ``[B, T, D]`` at places ``[B, N]``."""
    return vectors.gather(1, places.unsqueeze(-1).expand(-1, -1, vectors.shape[-1]))


class SoftPrompt(Method):
    """A soft prompt as language and as task module; a row with both has one after the other."""

    name: ClassVar[str] = "soft_prompt"
    Config = SoftPromptConfig
    peft_types: ClassVar[Mapping[str, Fields]] = {PEFT_TYPES[0]: FIELDS}
    starts_at_base: ClassVar[bool] = False

    def banks(self, architecture: Architecture, role: Role) -> tuple[BankSpec, ...]:
        """``vectors [S, P, D]`` in the space of ``Architecture.words``, held in memory."""
        shape = (f"S.{role}", f"P.{role}", architecture.width)
        return (BankSpec(name=f"{role}.{PROMPT}", role=role, shape=shape, held="memory"),)

    def attach(self, hooks: Hooks, role: Role) -> None:
        """Puts prompts around the rows once for both roles, inside all else that is there."""
        if role == ROLES[-1]:
            hooks.around_rows(Prompts())

    def fresh(
        self, config: MethodConfig, architecture: Architecture, generator: Generator
    ) -> dict[str, Tensor]:
        """The first vectors, as the settings say.

        Raises:
            ConfigError: ``TEXT`` without a text, or on a base without a tokenizer.
        """
        settings = SoftPromptConfig.model_validate(config)
        start = STARTS[settings.prompt_tuning_init]
        with torch.no_grad():
            return {PROMPT: _not_zero(start(settings, architecture, generator).float().cpu())}

    def write(
        self, folder: Path, config: MethodConfig, tensors: Mapping[str, Tensor], base: Architecture
    ) -> None:
        """``adapter_config.json`` and ``adapter_model.safetensors`` as PEFT saves them."""
        import peft

        settings, vectors = SoftPromptConfig.model_validate(config), tensors[PROMPT]
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "adapter_model.safetensors"
        save_file({KEY: vectors.contiguous()}, file, metadata={"format": "pt"})
        name, tower = base.model.config.name_or_path.rsplit("/", 1)[-1], base.towers()[0]
        peft.PromptTuningConfig(
            task_type=TASK_TYPES[base.kind][0],
            num_virtual_tokens=len(vectors),
            token_dim=base.width,
            num_transformer_submodules=1,
            num_attention_heads=base.heads,
            num_layers=tower.depth,
            prompt_tuning_init=settings.prompt_tuning_init,
            prompt_tuning_init_text=settings.prompt_tuning_init_text,
            tokenizer_name_or_path=name or "unnamed",
            base_model_name_or_path=name,
            inference_mode=True,
        ).save_pretrained(str(folder))

    def read(self, folder: Path, base: Architecture) -> tuple[MethodConfig, dict[str, Tensor]]:
        """Reads PEFT's files; a head beside the prompt is left aside.

        Of the two prompts in files of encoder-decoders PEFT uses the first, and so do we.
        """
        files = peft_folder.load(folder, base)
        settings, state = files.settings, dict(files.state)
        kind = settings.get("peft_type")
        if kind != PEFT_TYPES[0]:
            raise ModuleMismatch(folder.name, [f"peft_type is {kind}; allowed: {PEFT_TYPES[0]}"])
        try:
            vectors = state.pop(KEY)
            config = SoftPromptConfig(
                num_virtual_tokens=settings["num_virtual_tokens"],
                prompt_tuning_init=settings.get("prompt_tuning_init", "RANDOM"),
                prompt_tuning_init_text=settings.get("prompt_tuning_init_text"),
            )
            faults = [*peft_folder.faults(settings, FIELDS), *_faults(settings, vectors, base)]
        except (ValueError, KeyError) as error:
            raise BrokenModule(f"{folder.name} is no PEFT soft prompt: {error}") from error
        faults += [f"{key} is unknown" for key in sorted(state)]
        if faults:
            raise ModuleMismatch(folder.name, faults)
        own = vectors[: config.num_virtual_tokens].float()
        return config, {PROMPT: _not_zero(own)}

    def recognises(self, folder: Path) -> bool:
        """PEFT's prompts, also of those kinds that ``read`` refuses."""
        return described(folder).get("peft_type") in PEFT_TYPES


def _not_zero(vectors: Tensor) -> Tensor:
    return torch.where(vectors.ne(0).any(-1, keepdim=True), vectors, NOT_ZERO)


def _faults(settings: Mapping[str, Any], vectors: Tensor, base: Architecture) -> list[str]:
    """What a checkpoint asks for that a prompt in front of words is not, every reason at once."""
    task = settings.get("task_type")
    found, allowed = [], TASK_TYPES[base.kind]
    if task not in (None, *allowed):
        found.append(f"task_type is {task}; this {base.kind} takes {', '.join(allowed)}")
    parts = settings.get("num_transformer_submodules") or 1
    if parts > (2 if base.kind == "translator" else 1):
        found.append(f"num_transformer_submodules is {parts}; allowed: 1")
    expected = (settings["num_virtual_tokens"] * parts, base.width)
    if vectors.shape != expected:
        found.append(f"{KEY} has shape {list(vectors.shape)}, the base wants {list(expected)}")
    return found


def _words(architecture: Architecture, ids: Tensor) -> Tensor:
    """Word vectors ``[N, D]`` of token ids ``[N]``."""
    device = architecture.model.device
    return architecture.words(ids.unsqueeze(0).to(device))[0].cpu()


def _drawn(settings: SoftPromptConfig, base: Architecture, generator: Generator) -> Tensor:
    shape = (settings.num_virtual_tokens,)
    ids = torch.randint(base.vocabulary_size, shape, generator=generator)
    return _words(base, ids)


def _mean(settings: SoftPromptConfig, base: Architecture, generator: Generator) -> Tensor:
    table = _words(base, torch.arange(base.vocabulary_size))  # [V, D]
    noise = torch.randn(settings.num_virtual_tokens, base.width, generator=generator)
    return table.mean(0) + MEAN_NOISE * table.std() * noise


def _random(settings: SoftPromptConfig, base: Architecture, generator: Generator) -> Tensor:
    return torch.randn(settings.num_virtual_tokens, base.width, generator=generator)


def _of_text(settings: SoftPromptConfig, base: Architecture, generator: Generator) -> Tensor:
    from transformers import AutoTokenizer

    del generator
    folder, length = base.model.config.name_or_path, settings.num_virtual_tokens
    if not settings.prompt_tuning_init_text:
        raise ConfigError("prompt_tuning_init TEXT needs prompt_tuning_init_text")
    if not any((Path(folder) / name).is_file() for name in TOKENIZER_FILES):
        raise ConfigError(
            f"prompt_tuning_init TEXT needs the base's tokenizer, and there is none in {folder!r}; "
            "SAMPLE_VOCAB or MEAN need none"
        )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor(tokenizer(settings.prompt_tuning_init_text)["input_ids"])
    return _words(base, ids.repeat(-(-length // len(ids)))[:length])


STARTS: dict[str, Callable[[SoftPromptConfig, Architecture, Generator], Tensor]] = {
    "SAMPLE_VOCAB": _drawn,
    "TEXT": _of_text,
    "MEAN": _mean,
    "RANDOM": _random,
}
