"""Tables with texts, and a sentence encoder so small that it is made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabular_automl.extend import FeatureTable, Kind, ProblemType, Samples, Setting, Task

BINARY = Task(ProblemType.BINARY, 2)
PRAISE = ["lovely", "great", "perfect", "comfortable", "happy"]
BLAME = ["awful", "broken", "ugly", "refund", "sad"]
REST = ["the", "dress", "a", "colour", "size", "it", "was", "came", "on", "monday", "and", "with"]


def reviews(n_rows: int = 240, seed: int = 0) -> tuple[pd.Series, np.ndarray]:
    """Return texts, and whether each praises more than it blames."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n_rows) < 0.5).astype(np.int64)
    texts = [
        " ".join(rng.permutation([*rng.choice(REST, 6), *rng.choice(PRAISE if good else BLAME, 2)]))
        for good in y
    ]
    return pd.Series(texts, name="review"), y


def text_table(texts: pd.Series, number: np.ndarray | None = None) -> FeatureTable:
    """Return a feature table of one raw text column and one number."""
    n_rows = len(texts)
    numeric = np.zeros((n_rows, 1)) if number is None else number[:, None]
    return FeatureTable(
        numeric.astype(np.float32),
        np.empty((n_rows, 0), dtype=np.int32),
        ("number",),
        raw={"review": texts.to_numpy(dtype=object)},
        raw_kinds={"review": Kind.TEXT},
    )


def setting(task: Task = BINARY) -> Setting:
    return Setting(task, "log_loss" if task.is_classification else "squared_error")


@pytest.fixture
def samples() -> Samples:
    texts, y = reviews()
    return Samples(text_table(texts), y)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a BERT of 2 layers and 16 numbers to a token, with random weights."""
    return made_encoder(tmp_path_factory.mktemp("tiny_bert"), "Bert", model_max_length=64)


def made_encoder(folder: Path, family: str, **tokens: object) -> Path:
    """Fill a folder with a small model of a family of transformers and a tokenizer of words."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PRAISE, *BLAME, *REST]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    getattr(transformers, f"{family}Model")(config).save_pretrained(folder)
    tokens |= {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens))
    return folder
