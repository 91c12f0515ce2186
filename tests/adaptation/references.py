"""The library each method is known from, as a model that has read the method's own checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from transformers import MBartConfig, MBartForConditionalGeneration

from adaptation.architectures import Architecture


@dataclass(frozen=True)
class Reference:
    """A library's answer to one method on one kind of base."""

    library: str
    """As docs/methods.md names it."""
    model: Callable[[Architecture, Path], torch.nn.Module]
    """A base that is the library's own from now on, and a checkpoint's folder → its model."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of the method's Config."""


def peft_model(base, folder):
    from peft import PeftModel

    return PeftModel.from_pretrained(base.model, folder).eval()


class Prompted(torch.nn.Module):
    """PEFT's model with a prompt, which answers at the places of tokens alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, **inputs):
        """Of an encoder the last ``[B, T, V]``; decoders have no prompt."""
        found = self.model(input_ids=input_ids, **inputs)
        if "decoder_input_ids" not in inputs:
            found.logits = found.logits[:, -input_ids.shape[1] :]
        return found


def prompted_model(base, folder):
    return Prompted(peft_model(base, folder))


def adapters_model(base, folder):
    import adapters

    model = as_mbart(base.model) if base.kind == "translator" else base.model
    adapters.init(model)
    model.load_adapter(str(folder), use_safetensors=True)
    model.set_active_adapters(folder.name)
    return model.eval()


def state_dict_model(base, folder):
    found = base.model.load_state_dict(load_file(folder / "biases.safetensors"), strict=False)
    assert not found.unexpected_keys
    return base.model.eval()


class Composed(torch.nn.Module):
    """XPT as a plain composition of Hugging Face's modules: no library has it."""

    def __init__(self, base, tensors):
        super().__init__()
        self.base, self.bias = base, tensors["xpt.bias"]
        self.words = torch.nn.Embedding.from_pretrained(tensors["xpt.words"])
        self.entry, self.exit = (self.layer(tensors, f"xpt.{each}.") for each in ("entry", "exit"))

    def layer(self, tensors, start):
        made = type(self.base.backbone.encoder.layer[0])(self.base.model.config).eval()
        made.load_state_dict(
            {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
        )
        return made

    def forward(self, input_ids, attention_mask):
        """Embedding, layer, the base without its words, layer, the base's head on those words."""
        model, embeddings = self.base.model, self.base.backbone.embeddings
        bert = model.config.model_type == "bert"
        first = 0 if bert else model.config.pad_token_id + 1
        positions = torch.arange(input_ids.shape[1]).expand_as(input_ids) + first
        never = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        words = self.words(input_ids) + embeddings.position_embeddings(positions)
        words = words + embeddings.token_type_embeddings(torch.zeros_like(input_ids))
        entered = self.entry(embeddings.LayerNorm(words), never)[0]
        inner = self.base.backbone(inputs_embeds=entered, attention_mask=attention_mask)
        hidden = self.exit(inner.last_hidden_state, never)[0]
        if bert:
            transformed = model.cls.predictions.transform(hidden)
        else:
            transformed = model.lm_head.layer_norm(
                torch.nn.functional.gelu(model.lm_head.dense(hidden))
            )
        logits = torch.nn.functional.linear(transformed, self.words.weight, self.bias)
        return SimpleNamespace(entered=entered, last_hidden_state=hidden, logits=logits)


def composed_model(base, folder):
    state = load_file(folder / "xpt.safetensors")
    return Composed(base, {f"xpt.{name}": tensor for name, tensor in state.items()}).eval()


def as_mbart(model):
    """M2M100 as mBART, which has the same layers and which `adapters` knows.

    What differs is told it: sinusoidal positions are learned ones that hold the same numbers, and
    there is no norm over the embeddings.
    """
    own = model.config
    shared = ("vocab_size", "d_model", "encoder_layers", "decoder_layers", "encoder_ffn_dim",
              "decoder_ffn_dim", "encoder_attention_heads", "decoder_attention_heads",
              "max_position_embeddings", "activation_function", "scale_embedding", "bos_token_id",
              "pad_token_id", "eos_token_id", "decoder_start_token_id")  # fmt: skip
    config = MBartConfig(**{name: getattr(own, name) for name in shared}, forced_eos_token_id=None)
    found = MBartForConditionalGeneration(config)
    odd = found.load_state_dict(model.state_dict(), strict=False)
    assert not odd.unexpected_keys
    for stack, theirs in (
        (found.model.encoder, model.model.encoder),
        (found.model.decoder, model.model.decoder),
    ):
        stack.layernorm_embedding = torch.nn.Identity()
        positions = stack.embed_positions.weight
        positions.data.copy_(theirs.embed_positions.weights[: len(positions)])
    return found.eval()


PEFT = Reference("PEFT", peft_model)
LORA = Reference("PEFT", peft_model, {"r": 8, "lora_alpha": 32})
PROMPT = Reference("PEFT", prompted_model, {"num_virtual_tokens": 6})
PLAIN = Reference("a state dict", state_dict_model)
HUB = {"reduction_factor": 4}
ADAPTERS = {"encoder": Reference("adapters", adapters_model, HUB),
            "translator": Reference("adapters' mBART", adapters_model, HUB)}  # fmt: skip

REFERENCES: dict[str, dict[str, Reference]] = {
    "bitfit": {"encoder": PLAIN, "translator": PLAIN},
    "bottleneck": ADAPTERS,
    "double_bottleneck": ADAPTERS,
    "ia3": {"encoder": PEFT, "translator": PEFT},
    "lora": {"encoder": LORA, "translator": LORA},
    "parallel_bottleneck": ADAPTERS,
    "soft_prompt": {"encoder": PROMPT, "translator": PROMPT},
    "xpt": {"encoder": Reference("Hugging Face's layers", composed_model)},
}
"""Method → kind of base → its reference; a method without one fails the tests."""
