"""What a job writes: names of files, the settings that decide their bytes, records, primes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.vocab import Vocab
from pipeline.engine.request import Request
from pipeline.errors import DamagedError, InputError
from pipeline.model.about import CorpusReference, ModelAbout, PrecisionCheck
from pipeline.model.artifact import (
    CONFIG,
    VOCAB,
    WEIGHTS,
    ModelArtifact,
    check_artifact,
    json_bytes,
)
from pipeline.model.config import ModelConfig
from pipeline.sampling import plan
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.plan import (
    Plan,
    Sample,
    SampleRecord,
    make_plan,
    precision_of,
    request_of,
)

BYTES = Vocab("byte", sorted(b"abcdef \n\xc3\xa9"))
CHARS = Vocab("char", [None, *sorted(map(ord, "abc\u00e9\u2603"))])
MEASURED_INT8 = PrecisionCheck("int8", 64, 1.0, 1.001)


def artifact(
    vocab: Vocab = BYTES, sampling: PrecisionCheck | None = MEASURED_INT8
) -> ModelArtifact:
    """A model's files; nothing here reads its weights."""
    about = ModelAbout(
        model=ModelConfig(vocab_size=len(vocab)),
        corpus=CorpusReference("texts", "0123456789ab", "f" * 64),
        sampling=sampling,
    )
    files = {
        WEIGHTS: b"weights",
        CONFIG: json_bytes(about.to_json()),
        VOCAB: json_bytes(vocab.to_json()),
    }
    return check_artifact("m", "3", "models:/m/3", files)


def config(**changes: Any) -> SampleConfig:
    return SampleConfig(**{"model": "models:/m/3"} | changes)


def planned(vocab: Vocab = BYTES, **changes: Any) -> Plan:
    return make_plan(config(**changes), artifact(vocab))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Files.


def test_a_file_is_named_after_what_tells_it_from_the_others(tmp_path: Path) -> None:
    (tmp_path / "primes.txt").write_bytes(b"a\nb\n")
    primes = str(tmp_path / "primes.txt")
    assert [sample.name for sample in planned(num_files=2).samples] == [
        "sample-00000.txt",
        "sample-00001.txt",
    ]
    assert [sample.name for sample in planned(temperature="0.5,1").samples] == [
        "sample-t0.5-00000.txt",
        "sample-t1-00000.txt",
    ]
    assert [sample.name for sample in planned(primes=primes).samples] == [
        "sample-p0000-00000.txt",
        "sample-p0001-00000.txt",
    ]
    everything = planned(temperature="1.0,0.5", primes=primes, num_files=2).samples
    assert everything == [
        Sample("sample-t1-p0000-00000.txt", 0, 1.0, b"a"),
        Sample("sample-t1-p0000-00001.txt", 1, 1.0, b"a"),
        Sample("sample-t1-p0001-00000.txt", 0, 1.0, b"b"),
        Sample("sample-t1-p0001-00001.txt", 1, 1.0, b"b"),
        Sample("sample-t0.5-p0000-00000.txt", 0, 0.5, b"a"),
        Sample("sample-t0.5-p0000-00001.txt", 1, 0.5, b"a"),
        Sample("sample-t0.5-p0001-00000.txt", 0, 0.5, b"b"),
        Sample("sample-t0.5-p0001-00001.txt", 1, 0.5, b"b"),
    ]


def test_temperatures_that_are_nearly_one_have_files_of_their_own() -> None:
    samples = planned(temperature="1.0000001,1.0000002,1,10.0,0").samples
    assert [sample.name for sample in samples] == [
        "sample-t1.0000001-00000.txt",
        "sample-t1.0000002-00000.txt",
        "sample-t1-00000.txt",
        "sample-t10-00000.txt",
        "sample-t0-00000.txt",
    ]


def test_numbers_beyond_the_width_of_a_name_stay_whole() -> None:
    assert planned(num_files=100_001).samples[-1].name == "sample-100000.txt"


# What decides bytes.


def test_settings_are_all_that_decides_the_files_bytes() -> None:
    made = planned(
        prime="ab", temperature="0.5,1", num_chars=7, top_k=3, top_p=0.9, stop="c", seed=5
    )
    assert made.settings == {
        "format": 2,
        "identity": {
            "model": "m",
            "version": "3",
            "weights_sha256": sha256(b"weights"),
            "corpus": {"name": "texts", "version": "0123456789ab", "fingerprint": "f" * 64},
            "precision": "int8",
            "device": "cpu",
        },
        "temperatures": [0.5, 1.0],
        "primes": [sha256(b"ab")],
        "num_chars": 7,
        "top_k": 3,
        "top_p": 0.9,
        "stop": "c",
        "lines": 0,
        "seed": 5,
    }
    text = json.dumps(made.settings, sort_keys=True).encode()
    assert made.digest == sha256(text)[:6]


def test_how_many_files_and_where_they_are_made_decides_nothing() -> None:
    same = planned().settings
    assert planned(num_files=9, num_workers=4, save_every_s=1.0, output="x").settings == same
    assert planned(lines=4).settings == {**same, "lines": 4}


def test_a_gpu_is_another_device() -> None:
    made = planned(use_gpu=True)
    assert made.identity == {**planned().identity, "precision": "fp32", "device": "cuda"}


@pytest.mark.parametrize(
    ("wanted", "measured", "use_gpu", "expected"),
    [
        ("auto", MEASURED_INT8, False, "int8"),
        ("auto", MEASURED_INT8, True, "fp32"),
        ("auto", PrecisionCheck("fp32", 64, 1.0, 1.1), False, "fp32"),
        ("auto", PrecisionCheck("bf16", 64), False, "fp32"),  # type: ignore[arg-type]
        ("auto", None, False, "fp32"),
        ("fp32", MEASURED_INT8, False, "fp32"),
        ("fp32", MEASURED_INT8, True, "fp32"),
        ("int8", None, False, "int8"),
    ],
)
def test_the_precision_is_what_was_asked_for_else_what_was_measured(
    wanted: str, measured: PrecisionCheck | None, use_gpu: bool, expected: str
) -> None:
    settings = config(precision=wanted, use_gpu=use_gpu)
    model = artifact(sampling=measured)
    assert precision_of(settings, model) == expected
    assert Plan(settings, model, ()).precision == expected


def test_a_plan_without_weights_is_the_same_plan() -> None:
    whole = planned(prime="a", num_files=2)
    light = whole.without_weights()
    assert light.model.files[WEIGHTS] == b""
    assert {**light.model.files, WEIGHTS: b"weights"} == whole.model.files
    assert light.settings == whole.settings
    assert light.samples == whole.samples


# Requests and records.


def test_a_request_has_the_jobs_settings_and_its_files_own() -> None:
    settings = {"num_chars": 7, "top_k": 3, "top_p": 0.9, "seed": 5, "lines": 4, "prime": "a"}
    made = planned(temperature="0.5,1", num_files=2, **settings)
    expected = {**settings, "prime": b"a"}
    assert made.request(made.samples[3]) == Request(number=1, temperature=1.0, **expected)
    assert made.request(made.samples[0]) == Request(number=0, temperature=0.5, **expected)
    # Without a temperature it is the job's first; 0 is one.
    assert request_of(made.config, 6, b"b").temperature == 0.5
    assert request_of(made.config, 6, b"b", 0.0).temperature == 0.0
    assert request_of(made.config, 6, b"b").number == 6
    assert request_of(made.config, 6, b"b").prime == b"b"


def recorded(**changes: Any) -> SampleRecord:
    made = planned(**changes)
    return made.record(made.samples[-1], num_chars=5, size=8, sha256="d" * 64, mean_nats=1.5)


def test_a_record_says_what_was_asked_for_and_what_came_out() -> None:
    settings = {"top_k": 3, "top_p": 0.9, "stop": "c", "seed": 5}
    record = recorded(prime="abc", temperature="0.5", num_files=2, **settings)
    assert record.to_json() == {
        "file": "sample-00001.txt",
        "number": 1,
        "temperature": 0.5,
        "prime": "abc",
        "prime_sha256": sha256(b"abc"),
        **settings,
        "lines": 0,
        "num_chars": 5,
        "bytes": 8,
        "sha256": "d" * 64,
        "mean_nats": 1.5,
        **planned().identity,
    }
    assert SampleRecord.from_json(record.to_json()) == record
    assert recorded(lines=4).to_json()["lines"] == 4


def test_a_record_shows_the_beginning_of_a_long_prime() -> None:
    record = recorded(prime="a" * 201)
    assert record.prime == "a" * 200
    assert record.prime_sha256 == sha256(b"a" * 201)
    assert recorded(prime="a" * 200).prime == "a" * 200
    # Characters, not bytes; and what a byte model takes that is no UTF-8 is shown as U+FFFD.
    assert recorded(prime="\u00e9" * 201).prime == "\u00e9" * 200
    made = planned()
    sample = Sample("x", 0, 1.0, b"\xe9a")
    shown = made.record(sample, num_chars=1, size=1, sha256="", mean_nats=0.0)
    assert shown.prime == "\ufffda"


def test_what_is_no_record_is_not_taken_for_one() -> None:
    value = recorded().to_json()
    for name in SampleRecord.__dataclass_fields__:
        if name != "identity":
            with pytest.raises(KeyError, match=name):
                SampleRecord.from_json({key: value[key] for key in value if key != name})
    with pytest.raises(TypeError):
        SampleRecord.from_json([1])  # type: ignore[arg-type]


# Primes and the vocabulary.


def test_a_prime_is_given_as_text_as_a_file_or_as_lines_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prime"
    file.write_bytes(b"ab\nc\n")
    assert planned(prime="a \u00e9").primes == (b"a \xc3\xa9",)
    assert planned().primes == (b"",)
    assert planned(prime_file=str(file)).primes == (b"ab\nc\n",)  # whole, its line feeds too
    file.write_bytes(b"ab\r\n\r\nc\n\nab\nd")
    assert planned(primes=str(file)).primes == (b"ab", b"c", b"d")  # each once, in order


def test_a_relative_path_of_primes_is_a_path_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prime").write_bytes(b"ab")
    monkeypatch.chdir(tmp_path)
    assert planned(prime_file="prime").primes == (b"ab",)


@pytest.mark.parametrize("option", ["prime_file", "primes"])
def test_unreadable_primes_are_one_clear_error(tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match=f"cannot read {option} {tmp_path}/nowhere"):
        planned(**{option: str(tmp_path / "nowhere")})


def test_a_file_of_primes_without_a_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\n\n")
    with pytest.raises(InputError, match=r"^primes \S+/empty has no lines; give one prime a line"):
        planned(primes=str(tmp_path / "empty"))


def test_a_prime_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan.MAX_PRIME_BYTES == 16 * 1024 * 1024
    monkeypatch.setattr(plan, "MAX_PRIME_BYTES", 5)
    (tmp_path / "prime").write_bytes(b"abcde")
    assert planned(prime_file=str(tmp_path / "prime")).primes == (b"abcde",)
    (tmp_path / "prime").write_bytes(b"abcdef")
    with pytest.raises(InputError, match=r"prime_file .* has more than 5 bytes"):
        planned(prime_file=str(tmp_path / "prime"))


def test_what_is_outside_the_vocabulary_is_refused_by_the_name_of_its_option(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"ab\n\na\x00\x01b\n")
    ending = r"\. Leave them out, or give --unknown skip\.$"
    with pytest.raises(InputError, match=rf"^{file}, line 3 has symbols.*0x00, byte 0x01{ending}"):
        planned(primes=str(file))
    with pytest.raises(InputError, match=rf"^prime_file {file} has symbols outside the voc"):
        planned(prime_file=str(file))
    with pytest.raises(InputError, match=r"^prime 'a\\x00b' has symbols outside .*: byte 0x00"):
        planned(prime="a\x00b")
    with pytest.raises(InputError, match="prime '" + "a" * 40 + "' has"):  # the first 40 characters
        planned(prime="a" * 41 + "\x00")


def test_unknown_symbols_of_a_prime_may_be_left_out() -> None:
    assert planned(prime="a\x00\u00e9\x01b", unknown="skip").primes == (b"a\xc3\xa9b",)
    assert planned(CHARS, prime="a\u00e9x\u2603!", unknown="skip").primes == (
        "a\u00e9\u2603".encode(),
    )
    # Two primes may become one.
    assert planned(prime="a", unknown="skip").primes == planned(prime="a!", unknown="skip").primes


def test_the_unknown_token_stands_for_no_prime() -> None:
    with pytest.raises(InputError, match=r"outside the vocabulary: 'x' \(U\+0078\)"):
        planned(CHARS, prime="ax")


def test_a_model_of_characters_takes_text_alone(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"ab\xe9")
    with pytest.raises(InputError, match="latin is not UTF-8 at byte 2, and the model writes char"):
        planned(CHARS, prime_file=str(tmp_path / "latin"))


def test_a_stop_text_must_be_writable_whatever_unknown_says() -> None:
    assert planned(stop="c").config.stop == "c"
    for unknown in ("refuse", "skip"):
        with pytest.raises(InputError, match=r"^stop 'x' has symbols outside the vocab"):
            planned(stop="x", unknown=unknown)


def test_lines_need_a_line_feed_that_begins_none() -> None:
    assert planned(lines=3, prime="a").primes == (b"a",)
    assert planned(prime="a\n").primes == (b"a\n",)
    with pytest.raises(InputError, match=r"^a prime with a line feed cannot begin a line; lea"):
        planned(lines=3, prime="a\n")
    for unknown in ("refuse", "skip"):
        with pytest.raises(InputError, match=r"^lines need a line feed, but the model has symb"):
            planned(CHARS, lines=3, unknown=unknown)
    assert planned(CHARS).primes == (b"",)


def test_a_vocabulary_that_is_none_is_refused_by_the_models_name() -> None:
    model = artifact()
    model.files[VOCAB] = b"{"
    with pytest.raises(DamagedError, match=r"models:/m/3: vocab\.json is not JSON"):
        make_plan(config(), model)
