"""Language modules that learn masked words and sentence vectors at once.

The vector of a translation is drawn to the one that the bare base gives the pivot's sentence
(Reimers and Gurevych 2020, arXiv 2004.09813), and kept from those of the other sentences.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase
from transformers.modeling_outputs import MaskedLMOutput

from adaptation.architectures import EncoderArchitecture
from adaptation.slot_sources import FixedSource
from langmod.languages import canonical
from langmod.specs import BaseSpec
from langmod.tasks.embed import QUERY
from training.data.corpus import read_pairs
from training.data.packing import MaskingCollator, Special, pack, token_lists
from training.models.joint_data import Drawn, JointCollator, JointRows
from training.modules.language_data import EVERYTHING, training_text
from training.modules.language_model import LanguageModel
from training.modules.settings import ModuleConfig, VectorSettings
from training.objectives.contrast import info_nce
from training.objectives.middle import pooled


class VectorLanguageModel(LanguageModel):
    """A base whose language module learns from masked text and from pairs with the pivot."""

    def of_pairs(self, settings: VectorSettings) -> "VectorLanguageModel":
        """Itself, with what its pairs weigh."""
        self.settings = settings
        return self

    def forward(self, **features: Tensor) -> object:
        """An output whose ``logits`` are the sum of the losses (see ``LossInHead``)."""
        masked = {name: features[name] for name in ("input_ids", "attention_mask")}
        found: MaskedLMOutput = super().forward(**masked)
        if "left_ids" not in features or found.logits.dim():
            return found
        with torch.no_grad(), self.slotted.using(None):
            wanted = self._vectors(features["right_ids"], features["right_mask"])  # [P, D]
        named = {f"language.{name}": tensor for name, tensor in self.tensors().items()}
        with self.slotted.using(FixedSource(named)):
            own = self._vectors(features["left_ids"], features["left_mask"])  # [P, D]
        apart = 1 - functional.cosine_similarity(own, wanted).mean()
        others = info_nce(own, wanted, self.settings.temperature)
        loss = self.settings.distil * apart + self.settings.contrast * others
        return MaskedLMOutput(logits=found.logits + loss)

    def _vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        architecture = self.slotted.architecture
        assert isinstance(architecture, EncoderArchitecture), "translators have no such module"
        hidden = architecture.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        return pooled(hidden.float(), mask)


def text_and_pairs(
    config: ModuleConfig,
    tokenizer: PreTrainedTokenizerBase,
    spec: BaseSpec,
    examples: int,
    places: Callable[[Tensor], Tensor] | None,
) -> tuple[JointRows, JointCollator]:
    """Packed blocks of the language's text, and with each some of its pairs with the pivot."""
    settings = config.vectors or VectorSettings()
    special, tag = Special.of(tokenizer), canonical(config.language or "")
    blocks = pack(token_lists(tokenizer, training_text(config)), special, config.block_tokens)
    front = spec.prefixes.get(QUERY, "")
    pairs = read_pairs(config.text, tag, canonical(settings.pivot), "train")
    sides = [
        list(token_lists(tokenizer, [front + pair[side] for pair in pairs])) for side in (0, 1)
    ]
    drawn = Drawn(pairs=list(zip(*sides, strict=True)), each=settings.pairs)
    seed = config.optimisation.seed
    rows = JointRows({tag: blocks}, examples, EVERYTHING, drawn, seed)
    masking = MaskingCollator(special, len(tokenizer), config.mask_rate, seed, places)
    return rows, JointCollator(masking, special, settings.tokens)
