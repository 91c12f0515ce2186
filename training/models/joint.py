"""``training joint``: a base goes on learning, with objectives beside masked language modelling.

Word vectors of languages laid on one another by a dictionary, masked translations, contrast of
sentence pairs, an adversary that tells languages apart; each alone or together.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, set_seed
from transformers.modeling_outputs import MaskedLMOutput

from adaptation.architectures import EncoderArchitecture
from langmod.config import Frozen, write_atomic
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.specs import BaseSpec, Kind
from training.data.corpus import read_pairs, read_text
from training.data.packing import MaskingCollator, Special, pack, token_lists
from training.loop.checkpoints import saving
from training.loop.labels import known_labels
from training.loop.trainer import SparseTrainer, arguments, examples_of
from training.models.base import BaseConfig, finish_base, start
from training.models.joint_data import Drawn, JointCollator, JointRows, TokenPair
from training.models.word_alignment import (
    DictionarySettings,
    align_words,
    own_tokens,
    token_dictionary,
)
from training.objectives.adversary import ADVERSARIES, AdversarySettings
from training.objectives.contrast import Contrast, ContrastSettings
from training.objectives.middle import Objective, Seen, middle_of

DICTIONARY_FILE = "dictionary.json"
"""The file in the run's folder with the entries of each language, and how near they lie after the
rotation."""


class TranslationSettings(Frozen):
    """Translation language modelling (Conneau and Lample 2019, arXiv 1901.07291).

    A sentence and its translation stand side by side and tokens of both are hidden. Positions run
    on through both, and there are no language embeddings.
    """

    share: float = 0.2
    """The share of the blocks that are such pairs."""


class JointConfig(BaseConfig):
    """One run of ``training joint``."""

    kind: Kind = "encoder"
    middle: int | None = None
    """Layers below the place that contrast and adversary look at; None: half of them."""
    dictionary: DictionarySettings | None = None
    translation: TranslationSettings | None = None
    contrast: ContrastSettings | None = None
    adversary: AdversarySettings | None = None

    def checked(self) -> "JointConfig":
        """Itself.

        Raises:
            ConfigError: nothing to go on from, no encoder, or no other language than the pivot.
        """
        if self.start_from is None or self.kind != "encoder":
            raise ConfigError(f"{self.name}: `start_from` must be an encoder base to go on from")
        if {canonical(tag) for tag in self.languages} <= {canonical(self.pivot)}:
            raise ConfigError(f"{self.name}: languages beside the pivot {self.pivot} are needed")
        return self


class JointModel(nn.Module):
    """A base and its objectives: one forward gives the sum of all losses."""

    def __init__(
        self, architecture: EncoderArchitecture, objectives: list[Objective], depth: int
    ) -> None:
        super().__init__()
        self.base = architecture.model
        self.objectives = nn.ModuleList(objectives)
        self._named = objectives
        self.progress = 0.0
        self.said: dict[str, float] = {}
        self._middle: Tensor | None = None
        architecture.towers()[0].layers[depth - 1].register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: object, output: tuple[Tensor, ...]) -> None:
        self._middle = output[0]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, **others: Tensor
    ) -> MaskedLMOutput:
        """An output whose ``logits`` are the loss, which the vocabulary makes (``LossInHead``)."""
        loss: Tensor = self.base(input_ids=input_ids, attention_mask=attention_mask).logits
        assert self._middle is not None
        middle, self._middle = self._middle, None
        self.said = {"mlm": float(loss.detach())}
        for objective in self._named:
            loss = loss + objective(Seen(middle, others, self.progress))
            self.said |= objective.said
        return MaskedLMOutput(logits=loss)


class JointTrainer(SparseTrainer):
    """Tells objectives how far the run is, and TensorBoard what they say."""

    def __init__(self, model: JointModel, **kwargs: Any) -> None:
        super().__init__(model=model, **kwargs)
        self.joint = model

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """The sum of all losses."""
        self.joint.progress = self.state.global_step / max(1, self.state.max_steps)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """What the Trainer logs, and the parts of the last step's loss."""
        super().log({**logs, **self.joint.said} if "loss" in logs else logs, start_time)


def train_joint(config: JointConfig) -> BaseSpec:
    """Goes on from a base; writes what ``training base`` writes.

    Raises:
        ConfigError: fields that do not go together.
        DataError: a corpus without the languages or pairs asked for.
        NotFinite: the loss or a weight is NaN or infinite.
        NotSaved: a full disk, or another fault of it.
    """
    config.checked()
    set_seed(config.optimisation.seed)
    architecture, tokenizer = start(config)
    if not isinstance(architecture, EncoderArchitecture):
        raise ConfigError(f"{config.name}: {config.start_from} is a {architecture.kind}")
    trainer = joint_trainer(config, architecture, tokenizer)
    return finish_base(config, architecture, tokenizer, trainer)


def joint_trainer(
    config: JointConfig, architecture: EncoderArchitecture, tokenizer: PreTrainedTokenizerBase
) -> JointTrainer:
    """The trainer with its text and objectives; word vectors are laid on one another here."""
    special, text = Special.of(tokenizer), JointText(config, tokenizer)
    if config.dictionary is not None:
        text.align(architecture, config.dictionary)
    settings, depth = config.optimisation, middle_of(architecture, config.middle)
    model = JointModel(architecture, objectives_of(config, architecture, depth), depth)
    chosen = arguments(config.run_folder, settings)
    # safetensors refuses tied weights that no Hugging Face model owns.
    chosen.save_safetensors = False
    masking = MaskingCollator(
        special, len(tokenizer), config.mask_rate, settings.seed, known_labels(architecture)
    )
    mix = (config.sampling_exponent, config.epoch_cap)
    rows = JointRows(text.blocks, examples_of(settings), mix, text.drawn(), settings.seed)
    return JointTrainer(
        model,
        head=architecture.vocabulary_head(),
        vocabulary=architecture.vocabulary,
        tail=architecture.tail,
        args=chosen,
        train_dataset=rows,
        data_collator=JointCollator(
            masking, special, config.contrast.tokens if config.contrast else config.block_tokens
        ),
    )


def objectives_of(
    config: JointConfig, architecture: EncoderArchitecture, depth: int
) -> list[Objective]:
    """Those that look at the middle."""
    found: list[Objective] = []
    if config.contrast is not None:
        found.append(Contrast(config.contrast, architecture, depth))
    if config.adversary is not None:
        kind = ADVERSARIES[config.adversary.kind]
        found.append(kind(config.adversary, architecture.width, len(config.languages)))
    return found


class JointText:
    """The text of a run as tokens."""

    def __init__(self, config: JointConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        """Reads the training text, and pairs where an objective wants them."""
        self.config, self.tokenizer = config, tokenizer
        self.special, self.pivot = Special.of(tokenizer), canonical(config.pivot)
        self.tags = [canonical(tag) for tag in config.languages]
        self.blocks = {
            tag: self._packed(token_lists(tokenizer, read_text(config.corpus, tag, "train")))
            for tag in self.tags
        }
        wanted = config.dictionary or config.translation or config.contrast
        self.pairs = {tag: self._read(tag) for tag in self.tags if tag != self.pivot and wanted}

    def drawn(self) -> Drawn:
        """What objectives read beside the blocks."""
        translation, contrast = self.config.translation, self.config.contrast
        every = list(chain.from_iterable(self.pairs.values()))
        end = self.special.end
        joined = ([*left, end, *right] for left, right in every)
        return Drawn(
            translations=None if translation is None else self._packed(joined),
            share=0.0 if translation is None else translation.share,
            pairs=every if contrast else (),
            each=contrast.pairs if contrast else 0,
        )

    def align(self, architecture: EncoderArchitecture, settings: DictionarySettings) -> None:
        """Rotates each language's own word vectors onto the pivot's; says how near they come."""
        table = architecture.model.get_input_embeddings()
        size = table.num_embeddings
        counts = np.stack(
            [np.bincount(rows.ravel(), minlength=size) for rows in self.blocks.values()]
        )
        counts[:, [*self.tokenizer.all_special_ids]] = 0
        said: dict[str, dict[str, float]] = {}
        for tag, pairs in self.pairs.items():
            entries = token_dictionary(pairs, (size, size), settings.least)
            own = own_tokens(counts, self.tags.index(tag), settings.own)
            entries = entries[np.isin(entries[:, 0], own)]
            cosine = align_words(table, own, entries)
            said[tag] = {"tokens": len(own), "entries": len(entries), "cosine": cosine}
        with saving(self.config.run_folder, self.config.run_folder):
            self.config.run_folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.config.run_folder / DICTIONARY_FILE, json.dumps(said) + "\n")

    def _packed(self, sentences: Iterator[list[int]]) -> NDArray[np.int32]:
        return pack(sentences, self.special, self.config.block_tokens)

    def _read(self, tag: str) -> list[TokenPair]:
        pairs = read_pairs(self.config.corpus, tag, self.pivot, "train")
        sides = [list(token_lists(self.tokenizer, [pair[side] for pair in pairs]))
                 for side in (0, 1)]  # fmt: skip
        return list(zip(*sides, strict=True))
