"""A model's card, word by word; and that nothing of corpus or model becomes markup in it."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipeline.model.about import CorpusReference, Lineage, ModelAbout, PrecisionCheck
from pipeline.model.config import ModelConfig
from pipeline.registry.card import model_card

ABOUT = ModelAbout(
    model=ModelConfig(vocab_size=92, cell="gru", num_layers=3, hidden_size=512),
    corpus=CorpusReference("texts", "0123456789ab", "f" * 64),
    train={
        # In another order than the card's, and with settings that it leaves out.
        "seed": 7,
        "max_epochs": 0,
        "max_steps": 12000,
        "max_grad_norm": 5.0,
        "dropout": 0.2,
        "seq_len": 100,
        "global_batch_size": 64,
        "schedule": "cosine",
        "learning_rate": 0.002,
        "optimizer": "adam",
        "num_workers": 2,
    },
    step=12000,
    metrics={"val_loss": 1.23456, "val_bits_per_char": 1.78111, "val_bits_per_byte": 1.5},
    lineage=Lineage(
        sources=("one.tar.xz", "two"),
        unit="char",
        documents=1234,
        documents_sha256="d" * 64,
        bytes=5678901,
        url="https://example.org/texts",
        licence="CC0-1.0",
    ),
    sampling=PrecisionCheck("int8", 65536, 1.2345678, 1.2349999),
)
CARD = f"""# my-model

A character-level recurrent language model. It writes text like what it read, and knows nothing else.

## Trained on

| | |
|---|---|
| corpus | `texts@0123456789ab` |
| fingerprint | `{"f" * 64}` |
| sources | `one.tar.xz, two` |
| url | `https://example.org/texts` |
| licence of the text | `CC0-1.0` |
| documents, bytes | `1,234, 5,678,901` |
| digest of all documents | `{"d" * 64}` |

## Figures, on the corpus's validation text

| | |
|---|---|
| val_bits_per_byte | `1.5000` |
| val_bits_per_char | `1.7811` |
| val_loss | `1.2346` |
| nats, engine fp32 | `1.23457` |
| nats, engine int8 | `1.23500` |

## Settings

| | |
|---|---|
| cell, layers, units | `gru, 3, 512` |
| parameters | `4,567,890` |
| vocabulary | `92 symbols (char)` |
| steps | `12,000` |
| optimizer | `adam` |
| learning_rate | `0.002` |
| schedule | `cosine` |
| global_batch_size | `64` |
| seq_len | `100` |
| dropout | `0.2` |
| max_grad_norm | `5.0` |
| max_steps | `12000` |
| max_epochs | `0` |
| seed | `7` |

Sampled in int8 on CPUs.

## A sample

    def f(x):
    \treturn x
    
"""  # noqa: E501, W293  # what a card holds


def card(sample: bytes = b"", **changes: Any) -> str:
    return model_card("my-model", dataclasses.replace(ABOUT, **changes), 4567890, sample)


def table(section: str, text: str) -> dict[str, str]:
    """The rows of one section's table."""
    part = text.partition(f"## {section}")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ", 1) for line in part.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def test_a_card_says_all_of_this() -> None:
    assert card(b"def f(x):\n\treturn x\n") == CARD


def test_a_card_leaves_out_what_nobody_knows() -> None:
    text = card(b"x", lineage=None, sampling=None, train={"seed": 1}, metrics={})
    assert table("Trained on", text) == {
        "corpus": "`texts@0123456789ab`",
        "fingerprint": f"`{'f' * 64}`",
        "licence of the text": "`not stated`",
        "documents, bytes": "`0, 0`",
    }
    assert table("Figures", text) == {}
    assert table("Settings", text) == {
        "cell, layers, units": "`gru, 3, 512`",
        "parameters": "`4,567,890`",
        "vocabulary": "`92 symbols (?)`",
        "steps": "`12,000`",
        "seed": "`1`",
    }
    assert "Sampled in fp32 on CPUs." in text


def test_figures_that_were_not_measured_are_not_shown() -> None:
    text = card(sampling=PrecisionCheck("fp32", 0), metrics={"val_loss": 1.0, "steps": 3})
    assert table("Figures", text) == {"val_loss": "`1.0000`"}
    assert "Sampled in fp32 on CPUs." in text


def test_a_card_is_data_not_markup() -> None:
    hostile = "<script>alert(1)</script>|`"
    lineage = Lineage(url=hostile, licence="two\nlines | and\ta `tick`", sources=("a|b",))
    text = card(b"# no heading\n<b>\n```\n\x00\x1b[31m\xff\n\ttab", lineage=lineage)
    assert table("Trained on", text)["url"] == "`<script>alert(1)</script>\\|'`"
    assert table("Trained on", text)["licence of the text"] == "`two lines \\| and a 'tick'`"
    assert table("Trained on", text)["sources"] == "`a\\|b`"
    sample = text.partition("## A sample\n\n")[2]
    assert sample == ("    # no heading\n    <b>\n    ```\n    \ufffd\ufffd[31m\ufffd\n    \ttab\n")
