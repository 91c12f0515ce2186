"""Whisper's text decoder (Radford et al. 2022, arXiv 2212.04356) as a decoder of its own.

Its layers are those of transformers' Blenderbot decoder: pre-norm, learned positions, a norm at the
end, tied words; only the bias of the keys is missing, and zero is one. So the class that is there
serves it, with a mask over the source that Whisper's own class does not take.
"""

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BlenderbotConfig, BlenderbotForCausalLM

Tensors = Mapping[str, NDArray[Any]]
PREFIX = "decoder/"
"""What the decoder's tensors in a CTranslate2 model are named by."""
NORMS = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    "encoder_attn_layer_norm": "attention/layer_norm",
    "final_layer_norm": "ffn/layer_norm",
}
LINEARS = {
    "self_attn.out_proj": "self_attention/linear_1",
    "encoder_attn.q_proj": "attention/linear_0",
    "encoder_attn.out_proj": "attention/linear_2",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
}
JOINED = {
    "self_attn": ("self_attention/linear_0", ("q_proj", "k_proj", "v_proj")),
    "encoder_attn": ("attention/linear_1", ("k_proj", "v_proj")),
}
"""Linears that CTranslate2 keeps as one, in this order of rows."""
ENDS = {
    "model.decoder.embed_tokens.weight": "embeddings/weight",
    "model.decoder.embed_positions.weight": "position_encodings/encodings",
    "model.decoder.layer_norm.weight": "layer_norm/gamma",
    "model.decoder.layer_norm.bias": "layer_norm/beta",
}
END = "<|endoftext|>"
START = "<|startoftranscript|>"


def whisper_decoder(tensors: Tensors, heads: int, ids: tuple[int, int]) -> BlenderbotForCausalLM:
    """The decoder of a Whisper model that CTranslate2 converted, in fp32.

    ``heads``: of each attention; ``ids``: of the token that starts a text and the one that ends it.
    """
    weights = renamed(tensors)
    words = weights["model.decoder.embed_tokens.weight"]
    start, end = ids
    layers = 1 + max(int(name.split(".")[3]) for name in weights if ".layers." in name)
    config = BlenderbotConfig(
        vocab_size=words.shape[0],
        d_model=words.shape[1],
        decoder_layers=layers,
        encoder_layers=layers,  # nothing else tells the cache how many layers there are
        decoder_attention_heads=heads,
        decoder_ffn_dim=weights["model.decoder.layers.0.fc1.bias"].shape[0],
        max_position_embeddings=weights["model.decoder.embed_positions.weight"].shape[0],
        activation_function="gelu",
        dropout=0.0,
        scale_embedding=False,
        is_decoder=True,
        add_cross_attention=True,
        bos_token_id=start,
        pad_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        forced_eos_token_id=None,
    )
    config.cross_attention_hidden_size = config.d_model
    model = BlenderbotForCausalLM(config)
    model.load_state_dict(weights | {"lm_head.weight": words})
    model.tie_weights()
    return model.eval()


def renamed(tensors: Tensors) -> dict[str, Tensor]:
    """CTranslate2's tensors under the names of the Hugging Face decoder, widened to fp32."""
    found = {ours: read(tensors, theirs) for ours, theirs in ENDS.items()}
    depth = len({name.split("/")[1] for name in tensors if name.startswith(f"{PREFIX}layer_")})
    for number in range(depth - 1):  # the closing norm is called a layer too
        prefix = f"model.decoder.layers.{number}."
        layer = layer_weights(tensors, f"layer_{number}/")
        found |= {prefix + name: weight for name, weight in layer.items()}
    return found


def layer_weights(tensors: Tensors, at: str) -> dict[str, Tensor]:
    """The weights of one layer by their Hugging Face names inside it."""
    found = {}
    for path, name in NORMS.items():
        found[f"{path}.weight"] = read(tensors, f"{at}{name}/gamma")
        found[f"{path}.bias"] = read(tensors, f"{at}{name}/beta")
    for kind in ("weight", "bias"):
        for path, name in LINEARS.items():
            found[f"{path}.{kind}"] = read(tensors, f"{at}{name}/{kind}")
        for path, (name, parts) in JOINED.items():
            rows = read(tensors, f"{at}{name}/{kind}").chunk(len(parts))
            pairs = zip(parts, rows, strict=True)
            found |= {f"{path}.{part}.{kind}": row.clone() for part, row in pairs}
    return found


def read(tensors: Tensors, name: str) -> Tensor:
    """One tensor of the decoder in fp32."""
    return torch.from_numpy(tensors[PREFIX + name].astype("float32"))
