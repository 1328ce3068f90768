"""Models of the real kind with random weights: what they say means nothing, how they are loaded and run is the product's way."""

import string
from pathlib import Path
from typing import Any

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def _tokeniser(folder: Path, texts: str) -> Any:
    from transformers import BertTokenizerFast  # type: ignore[attr-defined]

    letters = sorted(set(texts) | set(string.ascii_lowercase) | set(string.digits))
    words = [*SPECIAL, *letters, *(f"##{letter}" for letter in string.ascii_lowercase + string.digits)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    return BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=64)


def _config(words: int, **more: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=words, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=64, **more,
    )  # fmt: skip


def write_embedder(folder: Path, texts: str, seed: int = 0) -> Path:
    """A sentence-transformers directory of dimension 32 that knows the characters of some texts."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertModel

    torch.manual_seed(seed)
    tokeniser = _tokeniser(folder / "words", texts)
    BertModel(_config(len(tokeniser))).save_pretrained(folder / "bert")
    tokeniser.save_pretrained(folder / "bert")
    layer = Transformer(str(folder / "bert"))
    model = SentenceTransformer(modules=[layer, Pooling(32), Normalize()], device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"


def write_cross_encoder(folder: Path, texts: str, seed: int = 0) -> Path:
    """A cross-encoder's directory that knows the characters of some texts."""
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(seed)
    tokeniser = _tokeniser(folder / "words", texts)
    made = BertForSequenceClassification(_config(len(tokeniser), num_labels=1))
    made.save_pretrained(folder / "model")
    tokeniser.save_pretrained(folder / "model")
    return folder / "model"
