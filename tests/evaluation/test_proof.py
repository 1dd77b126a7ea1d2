"""A proof file is the same for any workers, turns into its text anywhere, and is read by a reader
that was written from the page.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from pipeline.errors import DamagedError, InputError
from pipeline.evaluation import proof, proof_file
from pipeline.evaluation.proof import decode, prove, threads
from pipeline.evaluation.proof_file import from_bytes, to_bytes
from pipeline.evaluation.proof_result import ProofResult
from pipeline.model.artifact import ModelArtifact, check_artifact, parse_vocab, read_artifact
from tests.evaluation import proof_reader

HOUSE = Path(__file__).parent.parent.parent
GOLDEN = HOUSE / "tests" / "golden"
MODELS = {
    "lstm": GOLDEN / "checkpoint" / "run" / "checkpoint-00000004",
    "gru": GOLDEN / "models" / "gru",  # of characters, with an unknown token
    "rnn": GOLDEN / "models" / "rnn",  # with an embedding
}
# Of two to four bytes a character, with some that no model knows, and bytes that are no UTF-8.
TEXT = (
    (GOLDEN / "source" / "crlf.txt").read_bytes()
    + "naïve €\u0301 \U0001f600 \ufffd".encode()
    + (GOLDEN / "source" / "large.code").read_bytes()[:1900]
    + b"\xff\xc3\xa9 \xed\xa0\x80\x00\xc3"
)


def model(name: str = "lstm") -> ModelArtifact:
    return read_artifact(str(MODELS[name]))


@pytest.fixture(autouse=True)
def _short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_file, "_STREAM_SYMBOLS", 300)


def proved(folder: Path, name: str = "lstm", text: bytes = TEXT, **options: Any) -> ProofResult:
    return prove(model(name), text, str(folder / f"{name}.proof"), **options)


@pytest.mark.parametrize("name", MODELS)
def test_a_reader_written_from_the_page_reads_it(name: str, tmp_path: Path) -> None:
    result = proved(tmp_path, name)
    assert result.streams > 1
    data = Path(result.url).read_bytes()
    assert len(data) == result.file_bytes
    assert proof_reader.read(data, MODELS[name]) == TEXT
    assert decode(result.url, model(name)) == TEXT


def test_the_reader_knows_nothing_of_the_house() -> None:
    source = Path(str(proof_reader.__file__)).read_text()
    assert "pipeline" not in source


def far(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """As a cluster does it: tasks travel as pickles, results as JSON, in any order."""
    for index in reversed(range(len(tasks))):
        there, task = pickle.loads(pickle.dumps((function, tasks[index])))
        yield index, json.loads(json.dumps(there(task)))


def test_neither_lanes_nor_workers_change_a_byte(tmp_path: Path) -> None:
    first = Path(proved(tmp_path).url).read_bytes()
    for lanes, run in ((1, threads(2)), (2, far), (3, threads(1)), (64, threads(3))):
        result = proved(tmp_path, lanes=lanes, run=run)
        assert Path(result.url).read_bytes() == first
        assert decode(result.url, model(), lanes=lanes, run=run) == TEXT


def test_threads_say_which_task_a_result_is_of() -> None:
    assert sorted(threads(2)(str, [5, 6, 7])) == [(0, "5"), (1, "6"), (2, "7")]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 processors")
def test_a_fresh_process_for_an_older_processor_decodes_it(tmp_path: Path) -> None:
    """Its processor has no AVX-512, which numba is told; it also has other lanes and workers."""
    for name in MODELS:
        proved(tmp_path, name)
    code = """
import sys
from pipeline.engine.tiles import _VNNI
from pipeline.evaluation.proof import decode, threads
from pipeline.model.artifact import read_artifact
print(_VNNI)
for url, model in zip(sys.argv[1::2], sys.argv[2::2]):
    print(decode(url, read_artifact(model), lanes=3, run=threads(2)).hex())
"""
    arguments = [
        str(part) for name in MODELS for part in (tmp_path / f"{name}.proof", MODELS[name])
    ]
    named = {
        "NUMBA_CPU_NAME": "x86-64-v3",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=HOUSE,
        env={**os.environ, **named},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["False", *[TEXT.hex()] * len(MODELS)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", [b"", b"a", b"\xff", "€".encode(), bytes(range(256))])
def test_any_bytes_are_a_text(name: str, text: bytes, tmp_path: Path) -> None:
    result = proved(tmp_path, name, text, compare=False)
    assert decode(result.url, model(name)) == text
    assert result.compared is None
    assert result.text_bytes == len(text)


@pytest.mark.parametrize("name", MODELS)
def test_its_size_is_the_engines_score(name: str, tmp_path: Path) -> None:
    vocab = parse_vocab(model(name).files, "")
    code = (GOLDEN / "source" / "large.code").read_bytes()[:6000]
    text = b"".join(bytes([byte]) for byte in code if byte in vocab.symbols)
    result = proved(tmp_path, name, text)
    assert result.outside == 0
    assert result.streams == len(text) // 300
    assert result.compared is not None
    assert result.compared.scored is not None
    difference = result.coded_bytes - result.compared.scored
    assert 0 < difference < 0.001 * result.compared.scored + 16 * result.streams


def test_a_result_says_what_it_cost(tmp_path: Path) -> None:
    result = proved(tmp_path, "gru")
    assert result.model == "models version gru"
    assert result.model_bytes == sum(map(len, model("gru").files.values()))
    assert (result.text_bytes, result.symbols) == (
        len(TEXT),
        len(TEXT.decode(errors="surrogateescape")),
    )
    assert result.outside_bits == pytest.approx(20.0875, abs=1e-4)
    known = set(parse_vocab(model("gru").files, "").symbols)
    symbols = TEXT.decode(errors="surrogateescape")
    assert result.outside == sum(ord(symbol) not in known for symbol in symbols)
    assert proved(tmp_path, "lstm").outside_bits == 40.0
    assert result.chars_per_sec > 0
    assert result.compared is not None
    assert result.compared.chars_per_sec
    assert result.compared.xz < len(TEXT)


def test_another_model_is_refused_by_name(tmp_path: Path) -> None:
    result = proved(tmp_path)
    with pytest.raises(InputError, match=r"written with run version checkpoint-00000004.*not with"):
        decode(result.url, model("rnn"))
    # Step 3 of the same run has the same shape.
    other = read_artifact(str(MODELS["lstm"].parent / "checkpoint-00000003"))
    with pytest.raises(InputError, match=r"not with run version checkpoint-00000003.*--model"):
        decode(result.url, other)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    result = proved(tmp_path)
    data = Path(result.url).read_bytes()
    Path(result.url).write_bytes(data[:-40])
    with pytest.raises(DamagedError, match="cut short or changed"):
        decode(result.url, model())
    with pytest.raises(InputError, match="cannot read proof file"):
        decode(str(tmp_path / "none"), model())


def test_a_file_whose_digests_are_right_is_not_believed(tmp_path: Path) -> None:
    result = proved(tmp_path)
    url = Path(result.url)
    written = from_bytes(url.read_bytes(), "x")
    url.write_bytes(to_bytes(written.header, [b"\xff" * 50, *written.streams[1:]]))
    with pytest.raises(DamagedError, match="cannot be decoded: its streams"):
        decode(str(url), model())
    url.write_bytes(to_bytes(replace(written.header, text_sha256="00" * 32), [*written.streams]))
    with pytest.raises(DamagedError, match="another text than it was made from"):
        decode(str(url), model(), run=threads(2))


def test_a_surrogate_that_stands_for_no_byte_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "any_symbols", lambda text, unit: np.array([0xD800], np.uint32))
    result = proved(tmp_path, "gru", b"x", compare=False)
    with pytest.raises(DamagedError, match="cannot be decoded"):
        decode(result.url, model("gru"))


def test_a_model_that_diverged_proves_nothing(tmp_path: Path) -> None:
    files = dict(model("rnn").files)
    weights = safetensors.numpy.load(files["weights.safetensors"])
    weights["head.bias"] = np.full_like(weights["head.bias"], np.nan)
    files["weights.safetensors"] = safetensors.numpy.save(weights)
    diverged = check_artifact("m", "1", "here", files)
    with pytest.raises(InputError, match="are not finite"):
        prove(diverged, TEXT, str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_what_cannot_run_is_refused() -> None:
    with pytest.raises(InputError, match="0 workers"):
        threads(0)


def test_an_error_of_a_thread_is_raised_and_ends_the_rest() -> None:
    begun = []

    def fail(task: int) -> int:
        begun.append(task)
        raise InputError(f"task {task}")

    with pytest.raises(InputError, match="task 0"):
        list(threads(1)(fail, list(range(50))))
    assert len(begun) < 50


def test_a_proof_of_the_first_release_is_read(tmp_path: Path) -> None:
    """What was written stays readable: a change of arithmetic needs another number in the file."""
    url = GOLDEN / "proofs" / "lstm.proof"
    assert decode(str(url), model()) == TEXT[:400]
    again = prove(model(), TEXT[:400], str(tmp_path / "again"), compare=False)
    assert Path(again.url).read_bytes() == url.read_bytes()
