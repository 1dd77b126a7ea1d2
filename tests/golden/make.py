"""How the files beside this one were made: by the code of commit 9cabaf6. Not a test.

It ran once, in a clone of that commit with the locked packages, and is kept as a record:

    cd /tmp/before && .venv/bin/python /tmp/golden/make.py

It writes next to itself, and uses /tmp/golden-root as a throw-away root. See README.md. It imports
that commit's modules: with later code it fails before it does anything.
"""
# ruff: noqa: I001, RUF100  # which imports are ours depends on modules that are there no more

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.pop("MLFLOW_TRACKING_URI", None)

import torch

from pipeline import storage
from pipeline.catalogue import export_model
from pipeline.corpora.build import build_corpus, run_here
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.experiment import _prepare
from pipeline.publication import publishable
from pipeline.registry import Registry
from pipeline.sampling.batch import sample_files
from pipeline.sampling.config import SampleConfig
from pipeline.training import checkpoint, loop
from pipeline.training.artifact import ARTIFACT
from pipeline.training.config import TrainConfig
from pipeline.training.rank import Trainer

HERE = Path(__file__).resolve().parent
ROOT = Path("/tmp/golden-root")  # of the throw-away registry
COMMIT = "9cabaf6"

LICENCE = {"url": "https://example.org/golden", "licence": "CC0-1.0"}
CORPORA: dict[str, dict[str, Any]] = {
    "bytes": {"val": 0.2, "test": 0.1, "shard_bytes": 2048, "chunk_bytes": 1024, **LICENCE},
    "chars": {
        "unit": "char", "nfc": True, "newlines": "lf", "min_count": 2, "separator": "\\n",
        "split": "tail", "decoding": "replace", "val": 0.1, "test": 0.1, "shard_bytes": 2048,
        "chunk_bytes": 1024, **LICENCE,
    },
    "skips": {"nfc": True, "decoding": "skip", "max_skipped_fraction": 1.0, "include": ["*.txt"],
              "order": "path", "split": "tail", "val": 100, "test": 50, "shard_bytes": 1024,
              "chunk_bytes": 1024},
}  # fmt: skip
SMALL: dict[str, Any] = {
    "hidden_size": 8, "global_batch_size": 4, "seq_len": 16, "optimizer": "adam",
    "learning_rate": 0.05, "max_epochs": 0, "eval_lanes": 2,
}  # fmt: skip
RUN = {
    **SMALL,
    "corpus": "bytes",
    "num_layers": 2,
    "dropout": 0.2,
    "max_steps": 4,
    "checkpoint_every": 3,
}
MODELS: dict[str, dict[str, Any]] = {
    "gru": {
        **SMALL,
        "corpus": "chars",
        "cell": "gru",
        "hidden_size": 6,
        "num_layers": 2,
        "max_steps": 60,
    },
    "rnn": {
        **SMALL,
        "corpus": "bytes",
        "cell": "rnn",
        "hidden_size": 7,
        "num_layers": 1,
        "embedding_size": 5,
        "max_steps": 60,
    },
}
LSTM, GRU, RNN = "checkpoint/run/checkpoint-00000004", "models/gru", "models/rnn"
SEVERAL = {"temperature": "0.5,1.0,0", "primes": "primes.txt", "num_chars": 300}
SAMPLES: dict[str, dict[str, Any]] = {
    "lstm-fp32": {"model": LSTM, "precision": "fp32", **SEVERAL},
    "lstm-int8": {"model": LSTM, "precision": "int8", **SEVERAL},
    "lstm-plain": {"model": LSTM, "num_files": 3, "num_chars": 500, "seed": 7},
    "lstm-top-k": {"model": LSTM, "precision": "int8",
                   "top_k": 5, "temperature": "0.8", "prime": "def ", "num_chars": 400},
    "lstm-top-p": {"model": LSTM, "precision": "fp32",
                   "top_p": 0.8, "temperature": "1.2", "prime": "class ", "num_chars": 400},
    "lstm-both": {"model": LSTM, "precision": "fp32",
                  "top_k": 20, "top_p": 0.9, "num_files": 2, "num_chars": 300, "seed": 3},
    "lstm-stop": {"model": LSTM, "precision": "fp32",
                  "stop": "e ", "prime": "def ", "num_files": 2, "num_chars": 500},
    "lstm-lines": {"model": LSTM, "precision": "int8",
                   "lines": 12, "prime": "d", "num_files": 2, "num_chars": 40},
    "gru-fp32": {"model": GRU, "precision": "fp32", "temperature": "0.7,0",
                 "prime": "caf\u00e9 \u2603", "unknown": "skip", "num_chars": 400},
    "gru-int8": {"model": GRU, "precision": "int8",
                 "temperature": "0.7", "num_files": 2, "num_chars": 400},
    "rnn-fp32": {"model": RNN, "precision": "fp32",
                 "temperature": "0.7,0", "prime": "return ", "num_chars": 400},
    "rnn-int8": {"model": RNN, "precision": "int8",
                 "temperature": "0.7", "lines": 9, "num_files": 2, "num_chars": 50},
}  # fmt: skip
CALLS: list[dict[str, Any]] = [
    {"primes": ["def "], "params": {"num_chars": 80, "seed": 3, "temperature": 0.7}},
    {
        "primes": ["def ", "class ", "def "],
        "params": {"num_chars": 300, "top_k": 10, "top_p": 0.95},
    },
    {"primes": ["d", "r"], "params": {"num_chars": 40, "lines": 6, "seed": 2}},
    {"primes": ["return ", "def "], "params": {"num_chars": 400, "stop": "e ", "temperature": 0.9}},
]


def sources() -> dict[str, bytes]:
    """The documents: code, prose, and what is hard about bytes."""
    dice = random.Random(9)
    names = ["lane", "token", "state", "shard", "seed", "text"]
    names[5:5] = ["caf\u00e9", "cafe\u0301", "nai\u0308ve"]
    verbs = ["read", "write", "count", "open", "merge"]
    lines, size = [], 0
    while size < 6100:
        verb, one, other = dice.choice(verbs), dice.choice(names), dice.choice(names)
        end = "\r\n" if len(lines) % 3 == 0 else "\n"
        plain = other.encode("ascii", "ignore").decode()
        block = [
            f"def {verb}_{one[:4].encode('ascii', 'ignore').decode()}(self, {plain}):",
            f'    """The {one} of a {other}, {verb} once"""',
            f"    for {verb[0]} in range({dice.choice((3, 7, 37))}):",
            f"        self.{verb}({verb[0]}, {dice.choice((3, 7, 73))})  # {one} {other}",
            f"    return {plain}",
            "",
        ]
        lines.append("".join(f"{line}{end}" for line in block))
        size += len(lines[-1].encode())
    combining = "e\u0301 a\u030a q\u0307\u0323 q\u0323\u0307 \u1112\u1161\u11ab \u212b\n"
    return {
        "large.code": "".join(lines).encode(),
        "crlf.txt": b"class Carried:\r\n    def feed(self):\r\n        return 3, 7\r\n\r\n"
        b"alone\rhere, and at the end\r",
        "bom.txt": "\ufeffthe mark in front is no text,\nthe next \ufeff is.\n".encode(),
        "marks/combining.txt": combining.encode() * 2,
        "marks/broken.txt": b"caf\xe9 is text, \xff is nothing, and this breaks off: \xe2\x84",
        "empty.txt": b"",
        "state.code": b"class Carried:\n    def text(self, seed):\n        for t in range(seed):\n"
        b"            self.read(t)\n        return self.count(seed, 7)  # of a shard\n\n\n"
        b"def open_text(self, state):\n    return state\n" * 2,
        "merge.code": b"def merge(lane, token):\n    return lane, token\n",
    }


class Kept:
    """A reporter that keeps what it is given."""

    def __init__(self) -> None:
        self.files: dict[int, dict[str, bytes]] = {}
        self.journals: dict[int, bytes] = {}

    def save(self, step: int, files: dict[str, bytes], journal: bytes) -> None:
        self.files[step], self.journals[step] = files, journal

    def progress(self, done: int, total: int, row: dict[str, Any]) -> None: ...

    def sample(self, trainer: Trainer) -> None: ...

    def stop_asked(self) -> bool:
        return False

    def leaving(self) -> bool:
        return False


def trained(settings: dict[str, Any], corpus: Corpus) -> Kept:
    trainer, kept = (
        Trainer(TrainConfig(**settings), corpus, torch.device("cpu"), torch.float32),
        Kept(),
    )
    loop.train(trainer, kept)
    return kept


def make_corpora() -> None:
    for name, data in sources().items():
        storage.write_bytes(f"source/{name}", data)
    for name, settings in CORPORA.items():
        for path in Path("source").rglob("*"):
            os.utime(path)  # so new that sources.json gets no state, which would vary
        build_corpus(CorpusConfig(name=name, source="source", **settings), ".", run_here)
    shutil.rmtree("corpora/.staging")


def make_models() -> None:
    corpus = open_corpus(".", "bytes")
    _prepare(TrainConfig(**RUN), ".", "checkpoint/run", "bytes", corpus)  # start.json
    kept = trained(RUN, corpus)
    storage.write_bytes("checkpoint/run/metrics.jsonl", kept.journals[4])
    for step in (3, 4):  # 3 was not evaluated, 4 was
        checkpoint.write(f"checkpoint/run/{checkpoint.name(step)}", kept.files[step])
    for name, settings in MODELS.items():
        files = trained(settings, open_corpus(".", settings["corpus"])).files[settings["max_steps"]]
        checkpoint.write(f"models/{name}", {file: files[file] for file in ARTIFACT})


def make_samples() -> None:
    Path("primes.txt").write_bytes(b"def \nclass \n")
    for name, settings in SAMPLES.items():
        sample_files(
            SampleConfig(**settings, output=f"samples/{name}"),
            checkpoint.fetch(settings["model"]),
            ".",
            local=True,
        )


def make_registered() -> None:
    """A model version in a registry of its own; its archive, and MLflow's folder of it."""
    shutil.copytree("corpora", ROOT / "corpora")
    root = str(ROOT)
    corpus, registry = open_corpus(root, "bytes"), Registry(root)
    mlflow_id = registry.client.create_run(registry._experiment("bytes")).info.run_id
    version = registry.register(
        "bytes", mlflow_id, "golden", publishable(LSTM, "bytes", corpus, root)
    )
    export_model(registry, version, root, str(HERE / "archive.zip"))
    (model,) = (path.parent for path in (ROOT / "mlartifacts").rglob("MLmodel"))
    texts, needed = predicted(model)
    code = [str(path) for path in sorted((model / "code").rglob("*.py"))]
    inside = {Path(path).relative_to(model) for path in needed}
    assert set(needed) <= set(code)
    members = sorted(
        path.relative_to(model)
        for path in model.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and (path.relative_to(model).parts[0] != "code" or path.relative_to(model) in inside)
    )
    with zipfile.ZipFile("registered.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.as_posix(), (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, (model / member).read_bytes())
    calls = [{**call, "texts": text} for call, text in zip(CALLS, texts, strict=True)]
    storage.write_json("registered.expected.json", {"calls": calls})


LOAD = """
import json, sys
sys.meta_path = [finder for finder in sys.meta_path if "__editable__" not in repr(finder)]
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
texts = [model.predict(call["primes"], params=call["params"]) for call in json.loads(sys.argv[2])]
files = {name: module.__file__ for name, module in sys.modules.items()
         if name.split(".")[0] == "pipeline"}
print(json.dumps([texts, sorted(files.values())]))
"""


def predicted(model: Path) -> tuple[list[list[str]], list[str]]:
    """What the model writes in a fresh process without our package, and which files it needed."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    given = [sys.executable, "-c", LOAD, str(model), json.dumps(CALLS)]
    done = subprocess.run(given, cwd="/", env=kept, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    texts, files = json.loads(done.stdout.splitlines()[-1])
    return texts, files


def main() -> None:
    for name in ("source", "corpora", "checkpoint", "models", "samples"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    shutil.rmtree(ROOT, ignore_errors=True)
    os.chdir(HERE)  # so that the corpora's source is 'source', wherever this folder is
    torch.set_num_threads(1)
    make_corpora()
    make_models()
    make_samples()
    make_registered()
    settings = {
        "commit": COMMIT,
        "corpora": CORPORA,
        "run": RUN,
        "models": MODELS,
        "samples": SAMPLES,
    }
    storage.write_json("settings.json", settings)


if __name__ == "__main__":
    main()
