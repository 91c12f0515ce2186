"""An encoder that hands on several of its layers, as one vector a token of another width.

The last layer of a sentence encoder has forgotten which words it read; layers below have not. So
each of the chosen layers is normed by itself, all are put side by side, and one linear map brings
them to the width that a decoder attends to. Registered with transformers under a model type of its
own, so that ``AutoModel`` and ``EncoderDecoderModel`` load it like any other encoder.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class LayerReaderConfig(PretrainedConfig):
    """Which encoder, which of its layers are read, and the width that comes out."""

    model_type = "layer_reader"
    is_composition = False

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        read_layers: list[int] | None = None,
        hidden_size: int = 512,
        **kwargs: Any,
    ) -> None:
        """``encoder``: its whole config as a dictionary; ``read_layers``: numbers from 1 on."""
        super().__init__(**kwargs)
        self.encoder = encoder or {}
        self.read_layers = list(read_layers or [])
        self.hidden_size = hidden_size

    def inner(self) -> PretrainedConfig:
        """The config of the encoder inside."""
        settings = dict(self.encoder)
        return AutoConfig.for_model(settings.pop("model_type"), **settings)


class LayerReader(PreTrainedModel):
    """The encoder and the map over its layers."""

    config_class = LayerReaderConfig
    base_model_prefix = "reader"
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(self, config: LayerReaderConfig) -> None:
        super().__init__(config)
        inner = config.inner()
        inner._attn_implementation = config._attn_implementation  # noqa: SLF001  (as Hugging Face does)
        self.encoder = AutoModel.from_config(inner, add_pooling_layer=False)
        self.each = int(inner.hidden_size)
        width = self.each * len(config.read_layers)
        self.gain = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))
        self.project = nn.Linear(width, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's words."""
        found: nn.Module = self.encoder.get_input_embeddings()
        return found

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.project:
            nn.init.normal_(self.project.weight, std=self.project.in_features**-0.5)
            nn.init.zeros_(self.project.bias)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **others: Any,
    ) -> BaseModelOutput:
        """Token ids ``[B, T]`` or word vectors ``[B, T, D]`` → ``last_hidden_state [B, T, W]``."""
        del others
        read = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            output_hidden_states=True,
        ).hidden_states
        return BaseModelOutput(last_hidden_state=self.mixed(read))

    def mixed(self, states: tuple[Tensor, ...]) -> Tensor:
        """Hidden states of all layers ``[B, T, D]``, words first → ``[B, T, W]``."""
        chosen = [states[number] for number in self.config.read_layers]
        normed = [functional.layer_norm(state, (self.each,)) for state in chosen]
        side_by_side = torch.cat(normed, -1)  # [B, T, D * n]
        mapped: Tensor = self.project(side_by_side * self.gain + self.shift)
        return mapped


AutoConfig.register(LayerReaderConfig.model_type, LayerReaderConfig)
AutoModel.register(LayerReaderConfig, LayerReader)
