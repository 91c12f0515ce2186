"""Small tokenizers of the three families that bases come with."""

import json

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from langmod.specs import BaseSpec

LINES = [
    "the capital of Mongolia is Ulaanbaatar.",
    "Монгол улсын нийслэл бол Улаанбаатар хот.",
    "대한민국의 수도는 서울이다.",
    "Қазақстанның астанасы Астана қаласы.",
    "< / s > _ e n m a s k [ ] S E P M A K",
] * 5
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def spec(**fields):
    return BaseSpec.model_validate(
        {
            "name": "tiny",
            "kind": "encoder",
            "architecture": "xlm-roberta",
            "digest": "b" * 64,
            "tokenizer_digest": "t" * 64,
            "licence": "Apache-2.0",
            "languages": ("en", "mn"),
            "width": 8,
            "layers": 1,
            "max_tokens": 64,
            "pad_id": 1,
            "eos_id": 2,
            **fields,
        }
    )


def finish(tokenizer, template, extra):
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=True) for token in extra]
    )
    tokenizer.post_processor = template
    return tokenizer


def without_added(tokenizer, names):
    """The trainer counts bytes among the special tokens; in a base they are plain pieces."""
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] not in names]
    return Tokenizer.from_str(json.dumps(content))


def unigram():
    """As XLM-R: control tokens are pieces of the vocabulary, with the best score of all."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150, show_progress=False, special_tokens=SPECIAL, unk_token="<unk>"
    )
    tokenizer.train_from_iterator(LINES, trainer)
    template = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    finish(tokenizer, template, [*SPECIAL, "<mask>"])
    return tokenizer, spec(mask_token="<mask>", mask_id=tokenizer.token_to_id("<mask>"))


def bpe():
    """As our own bases and NLLB: byte-pair encoding with bytes below, language tokens on top."""
    byte_tokens = [f"<0x{value:02X}>" for value in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=450, show_progress=False, special_tokens=[*SPECIAL, *byte_tokens]
    )
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer = without_added(tokenizer, byte_tokens)
    template = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)]
    )
    finish(tokenizer, template, ["__en__", "__mn__", "<mask>"])
    tokens = {tag: tokenizer.token_to_id(f"__{tag}__") for tag in ("en", "mn")}
    return tokenizer, spec(
        kind="translator",
        language_tokens=tokens,
        mask_token="<mask>",
        mask_id=tokenizer.token_to_id("<mask>"),
        decoder_start_id=2,
    )


def wordpiece():
    """As mBERT: token types, ``##`` inside words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, show_progress=False, special_tokens=special)
    tokenizer.train_from_iterator(LINES, trainer)
    template = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    finish(tokenizer, template, special)
    return tokenizer, spec(
        pad_id=0, eos_id=3, mask_token="[MASK]", mask_id=4, token_types=2, architecture="bert"
    )


FAMILIES = {"unigram": unigram, "bpe": bpe, "wordpiece": wordpiece}
