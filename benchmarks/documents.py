"""Speed of scoring every document beside the engine's own, side by side.

    python benchmarks/documents.py --model CHECKPOINT_FOLDER --source URL [--rounds 3]

The engine alone scores the same bytes, laid end to end in 64 lanes of one length, from memory. A
table of documents reads, stages, packs, prices and writes as well. Both take turns in every round,
on one thread; the ratio is taken within a round, and the median is reported. Rates are by the
processor time of this process: others on the machine change them less. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engine.coding import SymbolCodes
from pipeline.engine.engine import WIDTH, Engine
from pipeline.engine.opening import open_engine
from pipeline.evaluation.documents import score_documents
from pipeline.evaluation.documents_read import StagedTexts, staged_documents
from pipeline.evaluation.proof import any_symbols
from pipeline.model.artifact import read_artifact
from pipeline.tasks import run_here


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a checkpoint's folder")
    parser.add_argument("--source", required=True, help="a folder of documents")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", nargs="*", default=["fp32", "int8"])
    arguments = parser.parse_args()
    model = read_artifact(arguments.model)
    result: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    for precision in arguments.precision:
        engine = open_engine(model, precision)
        rounds = []
        with tempfile.TemporaryDirectory() as folder:
            block = lanes_of(engine, arguments.source, folder)
            engine.lanes(WIDTH).score_each(block[:2])  # compiled, or read from disk
            for number in range(arguments.rounds):
                began = time.process_time()
                engine.lanes(WIDTH).score_each(block)
                alone = block.size / (time.process_time() - began)
                began = time.process_time()
                output = str(Path(folder, f"{precision}-{number}"))
                done = score_documents(model, [arguments.source], output, precision=precision)
                documents = done.symbols / (time.process_time() - began)
                rounds.append({"engine": alone, "documents": documents})
        ratios = [each["documents"] / each["engine"] for each in rounds]
        result[precision] = {
            "rows": done.rows,
            "symbols": done.symbols,
            "rounds": [{name: round(rate) for name, rate in each.items()} for each in rounds],
            "ratio": round(statistics.median(ratios), 3),
        }
    print(json.dumps(result))


def lanes_of(engine: Engine, source: str, folder: str) -> np.ndarray:
    """All documents as tokens (T + 1, WIDTH)."""
    staging = str(Path(folder, "staging"))
    codes = SymbolCodes(engine.writable.vocab)
    texts = StagedTexts(staging)
    documents = staged_documents([source], staging, run_here)
    text = b"".join(b"".join(texts.texts(document)) for document in documents)
    found = codes.codes(any_symbols(text, codes.vocab.unit))
    tokens = np.maximum(found, 0)
    length = len(tokens) // WIDTH
    return np.ascontiguousarray(tokens[: length * WIDTH].reshape(WIDTH, length).T)


if __name__ == "__main__":
    main()
