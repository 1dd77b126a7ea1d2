"""Model cards: what a registered model was trained on, its figures, its settings, and a sample. Pure text."""

from __future__ import annotations

from typing import Any

SAMPLE_CHARS = 600
_SHOWN = (
    "optimizer", "learning_rate", "schedule", "global_batch_size", "seq_len", "dropout", "max_grad_norm", "max_steps",
    "max_epochs", "seed",
)  # fmt: skip


def lineage_of(manifest: dict[str, Any], origin: dict[str, Any]) -> dict[str, Any]:
    """What a model's config keeps of its corpus's manifest and origin, down to a digest of all source documents."""
    return {
        "sources": origin.get("sources", []),
        "unit": manifest["vocab"]["unit"],
        "documents": manifest["documents"],
        "documents_sha256": manifest["documents_sha256"],
        "bytes": manifest["bytes"]["text"],
        "url": origin.get("url", ""),
        "licence": origin.get("licence", ""),
    }


def card(name: str, config: dict[str, Any], parameters: int, sample: bytes) -> str:
    """A card as Markdown. Text of corpus and model is data here: shown as it is, never as markup."""
    model, corpus, lineage = config["model"], config["corpus"], config.get("lineage", {})
    metrics, sampling = config["metrics"], config.get("sampling", {})
    rows = [
        ("cell, layers, units", f"{model['cell']}, {model['num_layers']}, {model['hidden_size']}"),
        ("parameters", f"{parameters:,}"),
        ("vocabulary", f"{model['vocab_size']} symbols ({lineage.get('unit', '?')})"),
        ("steps", f"{config['step']:,}"),
        *((key, str(config["train"][key])) for key in _SHOWN if key in config["train"]),
    ]
    figures = [(key, f"{value:.4f}") for key, value in sorted(metrics.items()) if isinstance(value, float)]
    if "nats_int8" in sampling:
        figures += [
            ("nats, engine fp32", f"{sampling['nats_fp32']:.5f}"),
            ("nats, engine int8", f"{sampling['nats_int8']:.5f}"),
        ]
    about = [
        ("corpus", f"{corpus['name']}@{corpus['version']}"),
        ("fingerprint", corpus["fingerprint"]),
        ("sources", ", ".join(lineage.get("sources", []))),
        ("url", lineage.get("url", "")),
        ("licence of the text", lineage.get("licence", "") or "not stated"),
        ("documents, bytes", f"{lineage.get('documents', 0):,}, {lineage.get('bytes', 0):,}"),
        ("digest of all documents", lineage.get("documents_sha256", "")),
    ]
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in sample.decode("utf-8", "replace"))
    excerpt = "\n".join(f"    {line}" for line in shown.split("\n"))
    return f"""# {name}

A character-level recurrent language model. It writes text like what it read, and knows nothing else.

## Trained on

{_table(about)}

## Figures, on the corpus's validation text

{_table(figures)}

## Settings

{_table(rows)}

Sampled in {sampling.get("precision", "fp32")} on CPUs.

## A sample

{excerpt}
"""


def _table(rows: list[tuple[str, str]]) -> str:
    clean = [(key, " ".join(str(value).split()).replace("|", "\\|").replace("`", "'")) for key, value in rows if value]
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | `{value}` |" for key, value in clean)])
