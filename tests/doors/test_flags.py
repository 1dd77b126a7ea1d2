"""Wrong flags of every job: generated from the settings' types, and by hand beyond types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.corpora.config import CorpusConfig
from pipeline.evaluation.config import EvaluateConfig
from pipeline.explaining.config import ExplainConfig
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig
from tests.doors.house import shown
from tests.doors.values import FLAGS, HUGE, wrong

Refused = Callable[..., str]

JOBS: dict[str, type[Any]] = {
    "build_corpus": CorpusConfig,
    "train": TrainConfig,
    "sample": SampleConfig,
    "evaluate": EvaluateConfig,
    "explain": ExplainConfig,
}
# The rest of the settings: an engine's, or another job's, cases of the same kind would say no more.
GENERATED = [
    (job, setting, value)
    for job, config_class in JOBS.items()
    for setting, _, value in wrong(config_class, FLAGS)
]

LONG = "x" * 5000

BY_HAND: list[tuple[str, list[str], str]] = [
    # ---- build_corpus
    ("build_corpus", ["--num_workers", "-1"], "num_workers"),
    ("build_corpus", ["--num_workers", "two"], "num_workers"),
    ("build_corpus", ["--num_workers", str(HUGE)], "num_workers"),
    ("build_corpus", ["--keep", "-1"], "keep"),
    ("build_corpus", ["--keep", "1.5"], "keep"),
    ("build_corpus", ["--force", "--min_count", "0"], "min_count"),
    ("build_corpus", ["--min_count", "-1"], "min_count"),
    ("build_corpus", ["--chunk_bytes", "1"], "chunk_bytes"),
    ("build_corpus", ["--shard_bytes", "0"], "shard_bytes"),
    ("build_corpus", ["--expect_bytes", "-1"], "expect_bytes"),
    ("build_corpus", ["--name", ""], "name"),
    ("build_corpus", ["--name", ".."], "name"),
    ("build_corpus", ["--name", "a/b"], "name"),
    ("build_corpus", ["--name", "a b"], "name"),
    ("build_corpus", ["--name", LONG], "x"),
    ("build_corpus", ["--source", ""], "source"),
    ("build_corpus", ["--source", "[]"], "source"),
    ("build_corpus", ["--source", "/no/such/folder"], "/no/such/folder"),
    ("build_corpus", ["--source", "/no/*/such"], "/no/*/such"),
    ("build_corpus", ["--source", "nosuch://x"], "nosuch"),
    ("build_corpus", ["--source", "gs://bucket/x"], "gcsfs"),
    ("build_corpus", ["--source", "zip://a::/no/such.zip"], "/no/such.zip"),
    ("build_corpus", ["--source", "github://x"], "github"),
    ("build_corpus", ["--source", "http://127.0.0.1:1/x"], "127.0.0.1:1"),
    ("build_corpus", ["--source", f"/{LONG}"], "xxx"),
    ("build_corpus", ["--val", "1", "--split", "document"], "val"),
    ("build_corpus", ["--val", "-0.1"], "val"),
    ("build_corpus", ["--val", "nan"], "val"),
    ("build_corpus", ["--val", "most"], "val"),
    ("build_corpus", ["--val", "0.6", "--test", "0.6"], "sum to less than 1"),
    ("build_corpus", ["--train", "0.5"], "rest"),
    ("build_corpus", ["--separator", "\\q"], "separator"),
    ("build_corpus", ["--vocab_from", "nobody"], "nobody"),
    ("build_corpus", ["--vocab_from", "models:/nobody@champion"], "nobody"),
    ("build_corpus", ["--vocab_from", "models:/x"], "models:/x"),
    ("build_corpus", ["--verify", "--name", "nobody"], "nobody"),
    ("build_corpus", ["--include", "[]"], "include"),
    # ---- train
    ("train", ["--num_workers", "-1"], "num_workers"),
    ("train", ["--num_workers", "0"], "num_workers"),
    ("train", ["--num_workers", "2:1"], "num_workers"),
    ("train", ["--num_workers", "a:b"], "num_workers"),
    ("train", ["--num_workers", "1:2:3"], "num_workers"),
    ("train", ["--num_workers", str(HUGE)], "workers"),
    ("train", ["--num_workers", "4", "--cpus_per_worker", "999"], "num_workers"),
    ("train", ["--cpus_per_worker", "9999"], "CPUs"),
    ("train", ["--use_gpu"], "use_gpu"),
    ("train", ["--use_gpu", "--precision", "bf16"], "use_gpu"),
    ("train", ["--precision", "tf32"], "use_gpu"),
    ("train", ["--hidden_size", "10000000"], "hidden_size"),
    ("train", ["--num_layers", "1000000000000"], "num_layers"),
    ("train", ["--embedding_size", "9000000000000000000"], "embedding_size"),
    ("train", ["--global_batch_size", "9000000000000000000"], "global_batch_size"),
    ("train", ["--seq_len", "9000000000000000000"], "seq_len"),
    ("train", ["--learning_rate", "0"], "learning_rate"),
    ("train", ["--learning_rate", "-1"], "learning_rate"),
    ("train", ["--dropout", "1"], "dropout"),
    ("train", ["--dropout", "-0.1"], "dropout"),
    ("train", ["--max_steps", "0", "--max_epochs", "0", "--max_minutes", "0"], "end"),
    ("train", ["--eval_every", "soon"], "eval_every"),
    ("train", ["--eval_every", "nanm"], "eval_every"),
    ("train", ["--eval_every", "0"], "eval_every"),
    ("train", ["--eval_every", "-5"], "eval_every"),
    ("train", ["--eval_every", "infm"], "eval_every"),
    ("train", ["--checkpoint_every", ""], "checkpoint_every"),
    ("train", ["--checkpoint_every", "5h"], "checkpoint_every"),
    ("train", ["--sample_every", "1,x"], "sample_every"),
    ("train", ["--sample_every", "-1"], "sample_every"),
    ("train", ["--sample_every", ""], "sample_every"),
    ("train", ["--seed", str(1 << 63)], "seed"),
    ("train", ["--seed", "-1"], "seed"),
    ("train", ["--corpus", "nobody"], "nobody"),
    ("train", ["--corpus", "texts@nothing"], "nothing"),
    ("train", ["--corpus", "../../etc"], "etc"),
    ("train", ["--corpus", ""], "corpus"),
    ("train", ["--corpus", LONG], "xxx"),
    ("train", ["--resume", "nobody"], "nobody"),
    ("train", ["--resume", ".."], ".."),
    ("train", ["--resume", "../runs/begun"], "begun"),
    ("train", ["--resume", "begun/"], "begun"),
    ("train", ["--resume", LONG], "xxx"),
    ("train", ["--resume", "begun", "--hidden_size", "17"], "hidden_size"),
    ("train", ["--init_from", "models:/nobody@champion"], "nobody"),
    ("train", ["--init_from", "models:/"], "models:/"),
    ("train", ["--init_from", "/no/such/folder"], "/no/such/folder"),
    ("train", ["--init_from", "no-such-run"], "no-such-run"),
    # ---- sample
    ("sample", ["--model", ""], "model"),
    ("sample", ["--model", "models:/"], "models:/"),
    ("sample", ["--model", "zip::0"], "zip::"),
    ("sample", ["--model", "models:/texts/99"], "texts/99"),
    ("sample", ["--model", "models:/texts@nobody"], "nobody"),
    ("sample", ["--model", f"models:/texts/{HUGE}"], "texts"),
    ("sample", ["--model", "models:/te'xts@a"], "te'xts"),
    ("sample", ["--model", "runs:/nobody/model"], "nobody"),
    ("sample", ["--model", "no-such-run"], "no-such-run"),
    ("sample", ["--model", "../x' or 1"], "x"),
    ("sample", ["--model", "/no/such/folder"], "/no/such/folder"),
    ("sample", ["--model", "nosuch://folder/x"], "nosuch"),
    ("sample", ["--model", LONG], "xxx"),
    ("sample", ["--num_files", "0"], "num_files"),
    ("sample", ["--num_files", "1000000001"], "num_files"),
    ("sample", ["--num_chars", "0"], "num_chars"),
    ("sample", ["--num_workers", "-1"], "num_workers"),
    ("sample", ["--temperature", "-1"], "temperature"),
    ("sample", ["--temperature", "warm"], "temperature"),
    ("sample", ["--temperature", ""], "temperature"),
    ("sample", ["--temperature", "0.5,,1"], "temperature"),
    ("sample", ["--temperature", "nan"], "temperature"),
    ("sample", ["--temperature", "inf"], "temperature"),
    ("sample", ["--top_k", "-1"], "top_k"),
    ("sample", ["--top_p", "0"], "top_p"),
    ("sample", ["--top_p", "1.1"], "top_p"),
    ("sample", ["--seed", "-1"], "seed"),
    ("sample", ["--seed", str(1 << 63)], "seed"),
    ("sample", ["--lines", "-1"], "lines"),
    ("sample", ["--lines", "3", "--stop", "x"], "lines"),
    ("sample", ["--save_every_s", "0"], "save_every_s"),
    ("sample", ["--prime", "\u2603", "--unknown", "refuse"], "prime"),
    ("sample", ["--stop", "\u2603"], "stop"),
    ("sample", ["--prime", "a", "--primes", "b"], "prime"),
    ("sample", ["--prime_file", "/no/such/file"], "/no/such/file"),
    ("sample", ["--prime_file", "/"], "prime_file"),
    ("sample", ["--primes", "nosuch://x"], "nosuch"),
    ("sample", ["--use_gpu"], "use_gpu"),
    ("sample", ["--use_gpu", "--precision", "int8"], "use_gpu"),
    ("sample", ["--output", "zip://x::/tmp/none.zip"], "none.zip"),
    ("sample", ["--output", "nosuch://x"], "nosuch"),
    ("sample", ["--output", "http://127.0.0.1:1/x"], "127.0.0.1:1"),
    ("sample", ["--output", "/dev/null/x"], "/dev/null"),
    ("sample", ["--output", f"/tmp/{LONG}"], "xxx"),
    # ---- models
    ("models", [], "action"),
    ("models", ["explode"], "explode"),
    ("models", ["list", "nobody"], "nobody"),
    ("models", ["list", "no'body"], "no"),
    ("models", ["list", LONG], "xxx"),
    ("models", ["show"], "model"),
    ("models", ["show", "nobody"], "nobody"),
    ("models", ["show", "texts/99"], "texts/99"),
    ("models", ["show", "texts/one"], "texts/one"),
    ("models", ["show", ""], "model"),
    ("models", ["show", "texts@"], "texts@"),
    ("models", ["show", "texts/1", "--documents", "many"], "documents"),
    ("models", ["show", "texts/1", "--documents", "-1"], "documents"),
    ("models", ["promote"], "model"),
    ("models", ["promote", "texts/99"], "texts/99"),
    ("models", ["promote", "texts@nobody"], "nobody"),
    ("models", ["compare", "texts/1"], "other"),
    ("models", ["compare", "texts/1", "nobody"], "nobody"),
    ("models", ["compare", "texts/1", "texts/2", "--corpus", "nobody"], "nobody"),
    ("models", ["compare", "texts/1", "texts/2", "--corpus", "texts@nothing"], "nothing"),
    ("models", ["export", "texts/1"], "archive"),
    ("models", ["export", "texts/1", "/dev/null/x.zip"], "/dev/null"),
    ("models", ["export", "texts/1", "nosuch://x.zip"], "nosuch"),
    ("models", ["export", "nobody", "/tmp/none.zip"], "nobody"),
    ("models", ["import", "/no/such.zip"], "/no/such.zip"),
    ("models", ["import", "/dev/null"], "/dev/null"),
    ("models", ["import", "/etc/hostname"], "/etc/hostname"),
    ("models", ["import", "/"], "/"),
    ("models", ["import", "nosuch://x"], "nosuch"),
    # ---- reproduce, which has no settings of its own
    ("reproduce", ["--scale", "nope"], "nope"),
    ("reproduce", ["--recipe", "nope"], "nope"),
    ("reproduce", ["--recipe", "pystdlb"], "pystdlib"),
    ("reproduce", ["--recipe", "/no/such.yaml"], "/no/such.yaml"),
    ("reproduce", ["--recipe", "/etc"], "/etc"),
    ("reproduce", ["--recipe", "nosuch://x.yaml"], "nosuch"),
    ("reproduce", ["--recipe", "http://127.0.0.1:1/x.yaml"], "127.0.0.1:1"),
    ("reproduce", ["--num_zebras", "3"], "num_zebras"),
    # ---- schedule
    ("schedule", ["--list", "--schedule", "/no/such.yaml"], "/no/such.yaml"),
    ("schedule", ["--list", "--schedule", "/etc"], "/etc"),
    ("schedule", ["--list", "--schedule", "/dev/null"], "/dev/null"),
    ("schedule", ["--list", "--schedule", "nosuch://x"], "nosuch"),
    ("schedule", ["--run_now", "nobody"], "RAY_ADDRESS"),
    ("schedule", ["--perform", "nothing"], "nothing"),
    ("schedule", ["--perform", "texts/x"], "texts/x"),
    ("schedule", ["--perform", "texts/99"], "texts/99"),
    ("schedule", ["--once", "--twice"], "twice"),
]


@pytest.mark.parametrize(
    ("job", "setting", "value"),
    GENERATED,
    ids=[f"{job}-{setting}-{shown(value)}" for job, setting, value in GENERATED],
)
def test_a_value_of_another_type_is_refused_by_name(
    refused: Refused, job: str, setting: str, value: str
) -> None:
    assert setting in refused(job, f"--{setting}={value}")


@pytest.mark.parametrize(
    ("job", "arguments", "named"),
    BY_HAND,
    ids=[f"{job}-{shown(' '.join(arguments))}" for job, arguments, _ in BY_HAND],
)
def test_what_cannot_be_is_refused_by_name(
    refused: Refused, job: str, arguments: list[str], named: str
) -> None:
    assert named.lower() in refused(job, *arguments).lower()


def test_there_are_more_than_three_hundred() -> None:
    assert len(GENERATED) + len(BY_HAND) > 300
