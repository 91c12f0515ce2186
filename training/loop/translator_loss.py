"""A translator of two halves while it learns: what learns, at which rate, and its loss."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import EncoderDecoderModel

from langmod.errors import ConfigError
from training.data.packing import IGNORED
from training.loop.learning_rates import Factors
from training.loop.vocabulary_loss import VocabularyLoss


class LearningTranslator(nn.Module):
    """The loss of a batch; only what learns is saved, counted and updated.

    What does not learn is kept in bf16 where the run multiplies in it, so that no step has to cast
    it. The softmax runs over the pieces that are frequent and those of the batch's own targets: the
    others are so rare that leaving them out changes no gradient that matters.
    """

    def __init__(
        self,
        translator: EncoderDecoderModel,
        learns: Mapping[str, float],
        frequent: Mapping[int, NDArray[Any]],
        settings: tuple[float, int],
    ) -> None:
        """What learns, and over which pieces the softmax runs.

        ``learns``: regular expression over names of parameters → factor of their rate;
        ``frequent``: language token → pieces that are in the softmax of its batches;
        ``settings``: label smoothing, and how many rows of the words stay as they are.

        Raises:
            ConfigError: an expression that matches nothing.
        """
        super().__init__()
        self.smoothing, kept_words = settings
        self.translator = translator.requires_grad_(False)
        self.factors: dict[nn.Parameter, float] = {}
        for pattern, factor in learns.items():
            found = [p for name, p in translator.named_parameters() if re.search(pattern, name)]
            if not found:
                raise ConfigError(f"learns: no parameter's name matches {pattern!r}")
            self.factors |= dict.fromkeys(found, factor)
        for parameter in self.factors:
            parameter.requires_grad_(True)
        vocabulary = translator.decoder.config.vocab_size
        self.frequent = {}
        for language, pieces in frequent.items():
            self.frequent[language] = torch.zeros(vocabulary, dtype=torch.bool)  # [V]
            self.frequent[language][torch.as_tensor(pieces)] = True
        words = translator.decoder.lm_head.weight  # [V, D]
        if words.requires_grad and kept_words:
            words.register_hook(lambda slope: slope.index_fill(0, torch.arange(kept_words), 0.0))
        inner = translator.encoder.encoder
        self.reads = any(parameter.requires_grad for parameter in inner.parameters())

    @property
    def rates(self) -> Factors:
        """Factor of the rate of every parameter that learns."""
        return self.factors

    def halve_frozen(self) -> None:
        """Keeps the encoder, where it does not learn, and the words in bf16."""
        if not self.reads:
            self.translator.encoder.encoder.to(torch.bfloat16)

    def learned(self) -> dict[str, Tensor]:
        """What learns, by its name in the translator."""
        return {n: p for n, p in self.translator.named_parameters() if p.requires_grad}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Returns what learns alone: the frozen halves are where they came from."""
        whole = super().state_dict(*args, **kwargs)
        kept = {f"translator.{name}" for name in self.learned()}
        return {name: tensor for name, tensor in whole.items() if name in kept}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Reads what ``state_dict`` gave; the frozen halves are not missed."""
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        learned = {f"translator.{name}" for name in self.learned()}
        missing = [name for name in found.missing_keys if name in learned]
        if strict and (missing or found.unexpected_keys):
            raise RuntimeError(f"missing {missing}, surplus {found.unexpected_keys}")
        return type(found)(missing, found.unexpected_keys)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        decoder_input_ids: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """Mean loss in nats per labelled token of sources ``[B, S]`` and targets ``[B, T]``."""
        hidden = self.translator.decoder.model.decoder(
            input_ids=decoder_input_ids,
            encoder_hidden_states=self.memory(input_ids, attention_mask),
            encoder_attention_mask=attention_mask,
            use_cache=False,
        ).last_hidden_state  # [B, T, D]
        chosen = labels != IGNORED  # [B, T]
        used, places = self.shortlist(labels[chosen], decoder_input_ids[:, 1])
        table = self.translator.decoder.lm_head.weight[used]  # [U, D]
        smoothing = self.smoothing if self.training else 0.0
        loss: Tensor = VocabularyLoss.apply(hidden[chosen], table, None, (places, smoothing))
        return loss

    def memory(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the decoder attends to, ``[B, S, W]``; a frozen encoder keeps nothing for later."""
        reader = self.translator.encoder
        with torch.set_grad_enabled(self.reads and torch.is_grad_enabled()):
            states = reader.encoder(
                input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
            ).hidden_states
        mixed: Tensor = reader.mixed(states)
        return mixed

    def shortlist(self, labels: Tensor, languages: Tensor) -> tuple[Tensor, Tensor]:
        """The pieces of a batch's softmax ``[U]``, and where each label ``[N]`` is among them.

        ``languages [B]`` are the language tokens of its rows.
        """
        lists = [self.frequent[int(each)] for each in languages.unique()]
        wanted = torch.stack(lists).any(0).to(labels.device)
        wanted[labels] = True
        used = wanted.nonzero().squeeze(1)
        places = torch.cumsum(wanted, 0) - 1
        return used, places[labels]
