"""A model in a page: one HTML file that writes and scores in plain JavaScript, with the engine's
int8 arithmetic.

The file holds the arrays of engine/weights.py as the engine has them. A seed gives byte for byte
the text that jobs/sample.py --precision int8 gives.
"""

from __future__ import annotations

from typing import Any

from pipeline.corpora.vocab import Vocab
from pipeline.engine import arithmetic
from pipeline.engine.lanes import Writable
from pipeline.engine.tiles import COLUMNS, GROUP
from pipeline.engine.weights import Weights
from pipeline.errors import InputError
from pipeline.explaining import page_parts
from pipeline.model.about import ModelAbout, PrecisionCheck
from pipeline.model.artifact import ModelArtifact, load_weights
from pipeline.model.config import ModelConfig

MAX_BYTES = 64 << 20  # of weights: in base64 a file of 90 MB, which a phone still opens
_LEAD = (
    "A character-level recurrent network, whole, in this file. It runs here: there is no server, "
    "and nothing that you type leaves the page."
)


def play_page(
    model: ModelArtifact,
    *,
    card: str = "",
    cost: PrecisionCheck | None = None,
    temperature: float = 0.8,
) -> bytes:
    """The page of a model, as UTF-8.

    `card` is shown as it is; `cost` is what int8 was measured to cost, by default as registered.
    Raises InputError for a model that is too large, whose cell has no int8 path, or whose weights
    are no numbers.
    """
    check_size(model.about.model)
    script = page_parts.source("colours.js", "play.js")
    style = page_parts.source("play.css")
    about, weights = described(model)
    title = f"{model.name} {model.version}"
    blocks = [
        page_parts.json_block("about", about),
        page_parts.bytes_block("weights", weights),
        page_parts.text_block("worker", worker_script()),
        page_parts.script_block(script),
    ]
    shown_card = f"<h3>Card</h3><pre>{page_parts.escaped(card)}</pre>" if card else ""
    page = page_parts.filled(
        page_parts.source("play.html"),
        {
            "policy": page_parts.policy(script, style),
            "title": page_parts.escaped(title),
            "lead": page_parts.escaped(_LEAD),
            "style": page_parts.style_block(style),
            "play": play_sections(temperature, page_parts.source("palette.html")),
            "facts": page_parts.table_rows(facts(model, cost)),
            "card": shown_card,
            "blocks": "\n".join(blocks),
        },
    )
    return page.encode()


def worker_script() -> str:
    """What runs beside the page."""
    return page_parts.source("model.js", "random.js", "data.js", "play_worker.js")


def play_sections(temperature: float, palette: str) -> str:
    """The part of a page that script/play.js works in. `palette` chooses the colours; it is empty
    where the page has that choice elsewhere.
    """
    template = page_parts.source("play_sections.html")
    return page_parts.filled(template, {"temperature": repr(temperature), "palette": palette})


def described(model: ModelArtifact) -> tuple[dict[str, Any], bytes]:
    """What script/model.js opens: a description of the model, and its int8 arrays as bytes."""
    loaded = load_weights(model.files, model.uri)
    config = loaded.about.model
    weights = Weights(config, loaded.weights, "int8")
    arrays = weights.arrays
    writable = Writable.of(loaded.vocab, loaded.about.first_tokens)
    named = {
        "table": arrays.table,
        "input_bias": arrays.input_bias,
        "recurrent_bias": arrays.recurrent_bias,
        "head_bias": arrays.head_bias,
        "recurrent.panels": arrays.recurrent.panels,
        "recurrent.scale": arrays.recurrent.scale,
        "head.panels": arrays.head.panels,
        "head.scale": arrays.head.scale,
    }
    if config.num_layers > 1:
        named["inputs.panels"] = arrays.inputs.panels
        named["inputs.scale"] = arrays.inputs.scale
    data, places = page_parts.joined_arrays(named)
    about = _shape(config, weights.outputs) | {
        "lowest": writable.lowest,
        "first_counts": writable.first_counts.tolist(),
        "places": places,
        **_vocabulary(loaded.vocab),
        "arithmetic": _arithmetic(),
    }
    return about, data


def facts(model: ModelArtifact, cost: PrecisionCheck | None = None) -> list[tuple[str, str]]:
    """What the page says of the model, its licence, and what int8 costs."""
    about = model.about
    lineage = about.lineage
    config = about.model
    rows = [
        ("model", f"{model.name} {model.version}"),
        ("cell, layers, units", f"{config.cell}, {config.num_layers}, {config.hidden_size}"),
        ("vocabulary", f"{config.vocab_size} symbols"),
        ("learned", f"{about.corpus}, {about.step:,} steps"),
    ]
    if lineage:
        rows += [
            ("sources", ", ".join(lineage.sources)),
            ("url", lineage.url),
            ("licence of the text", lineage.licence or "not stated"),
            ("digest of all documents", lineage.documents_sha256),
        ]
    validation = about.metrics.get("val_bits_per_char")
    if isinstance(validation, float):
        rows.append(("bits per character, validation", f"{validation:.4f}"))
    rows.append(("int8 costs", _cost(about, cost)))
    rows += [(f"SHA-256 of {name}", digest) for name, digest in model.digests.items()]
    return rows


def check_size(config: ModelConfig) -> None:
    """Raise InputError where the page would be larger than a browser likes."""
    gates = config.traits.gates
    hidden = config.hidden_size
    table = 4 * config.vocab_size * gates * hidden
    matrices = gates * hidden * hidden * (2 * config.num_layers - 1)
    total = table + matrices + config.vocab_size * hidden
    if total > MAX_BYTES:
        raise InputError(
            f"the page would hold {total:,} bytes of weights, {table:,} of them the float32 table "
            f"of {config.vocab_size:,} symbols times {gates * hidden:,} gates; "
            f"a page may hold {MAX_BYTES:,}. "
            "Take a model with a smaller vocabulary or hidden_size."
        )


def _cost(about: ModelAbout, cost: PrecisionCheck | None) -> str:
    measured = cost or about.sampling
    if measured is None or measured.nats_fp32 is None or measured.nats_int8 is None:
        return "not measured"
    lost = measured.nats_int8 - measured.nats_fp32
    return (
        f"{lost:+.5f} nats a symbol ({measured.nats_int8:.5f} against {measured.nats_fp32:.5f} in "
        f"float32, over {measured.tokens:,} symbols); {about.precision} is this model's default"
    )


def _shape(config: ModelConfig, outputs: int) -> dict[str, Any]:
    return {
        "cell": config.cell,
        "layers": config.num_layers,
        "hidden": config.hidden_size,
        "gates": config.traits.gates,
        "symbols": config.vocab_size,
        "outputs": outputs,
        "columns": COLUMNS,
        "group": GROUP,
    }


def _vocabulary(vocab: Vocab) -> dict[str, Any]:
    return {"unit": vocab.unit, "vocab": list(vocab.symbols)}


def _arithmetic() -> dict[str, Any]:
    """The engine's own constants. JSON has every digit of a float64, and so of a float32."""
    return {
        "tanh_limit": float(arithmetic.TANH_LIMIT),
        "tanh_p": [float(value) for value in arithmetic.TANH_P],
        "tanh_q": [float(value) for value in arithmetic.TANH_Q],
        "log2e": arithmetic.LOG2E,
        "ln2_high": arithmetic.LN2_HIGH,
        "ln2_low": arithmetic.LN2_LOW,
        "exp_lowest": arithmetic.EXP_LOWEST,
        "taylor": [float(value) for value in arithmetic.TAYLOR],
    }
