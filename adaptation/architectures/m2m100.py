"""Translators: M2M100 and NLLB."""

from torch import Tensor, nn

from adaptation.architectures.architecture import Architecture, Stack, Sublayer

PRE_NORM = {
    "attention": Sublayer("self_attn.out_proj", None, ("self_attn_layer_norm", 0)),
    "output": Sublayer("fc2", None, ("final_layer_norm", 0)),
}
CROSS = {"cross": Sublayer("encoder_attn.out_proj", None, ("encoder_attn_layer_norm", 0))}


class TranslatorArchitecture(Architecture):
    """M2M100 and NLLB: pre-norm layers, sinusoidal positions, language tokens."""

    kind = "translator"
    model_types = ("m2m_100",)

    @property
    def reader(self) -> nn.Module:
        return self.model.model

    def stacks(self) -> tuple[Stack, ...]:
        inner = self.model.model
        return (
            Stack("encoder", inner.encoder.layers, PRE_NORM),
            Stack("decoder", inner.decoder.layers, PRE_NORM | CROSS),
        )

    def layer_path(self, stack: str, index: int) -> str:
        return f"model.{stack}.layers.{index}"

    def vocabulary_head(self) -> nn.Module:
        return self.model.lm_head

    def words(self, token_ids: Tensor) -> Tensor:
        """Token ids ``[B, T]`` → scaled word vectors ``[B, T, D]``, before positions."""
        return self.model.model.encoder.embed_tokens(token_ids)
