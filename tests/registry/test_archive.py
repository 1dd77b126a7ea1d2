"""A model as one archive: the same bytes each time, read back as it was, and whatever is tampered
with in it refused by name before anything of it is used.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from pipeline import storage
from pipeline.corpora.vocab import Vocab
from pipeline.errors import DamagedError, InputError
from pipeline.model.about import CorpusReference, Lineage, ModelAbout, PrecisionCheck
from pipeline.model.artifact import json_bytes
from pipeline.model.config import ModelConfig
from pipeline.registry import archive
from pipeline.registry.archive import Carried, read_archive, write_archive

Members = dict[str, bytes]
Change = Callable[[Members], object]

VOCAB = Vocab("byte", b"abc")
SHAPE = ModelConfig(vocab_size=3, num_layers=1, hidden_size=2)
ABOUT = ModelAbout(
    model=SHAPE,
    corpus=CorpusReference("texts", "0123456789ab", "f" * 64),
    first_tokens=((0, 3), (2, 1)),
    train={"optimizer": "adam"},
    step=5,
    metrics={"val_loss": 1.0, "val_bits_per_char": 1.4, "val_bits_per_byte": 1.5},
    lineage=Lineage(sources=("a",), unit="byte", documents_sha256="d" * 64),
    sampling=PrecisionCheck("int8", 64, 1.0, 1.001),
)
WEIGHTS = {name: np.zeros(shape, np.float32) for name, shape in SHAPE.shapes().items()}
CARRIED = Carried(
    name="texts",
    version="3",
    files={
        "weights.safetensors": safetensors.numpy.save(WEIGHTS),
        "config.json": json_bytes(ABOUT.to_json()),
        "vocab.json": json_bytes(VOCAB.to_json()),
        "MODEL_CARD.md": "# texts, caf\u00e9\n".encode(),
    },
    tags={"corpus": "texts@0123456789ab", "unreasonable.run_id": "run-1"},
    lineage={"model": "models:/texts/3", "documents": [{"path": "b", "sha256": "1"}]},
)
NAMES = [
    "weights.safetensors",
    "config.json",
    "vocab.json",
    "MODEL_CARD.md",
    "LICENCE.txt",
    "model.json",
    "lineage.json",
    "digests.json",
]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.zip"
    write_archive(str(path), CARRIED, "ask\n")
    return path


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_an_archive_holds_the_model_and_what_is_said_of_it(good: Path) -> None:
    with zipfile.ZipFile(good) as opened:
        infos = opened.infolist()
    assert [info.filename for info in infos] == NAMES
    for info in infos:
        stored = info.filename == "weights.safetensors"
        assert info.compress_type == (zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert info.external_attr == 0o644 << 16
    members = members_of(good)
    assert {name: members[name] for name in NAMES[:4]} == CARRIED.files
    assert members["LICENCE.txt"] == b"ask\n"
    assert json.loads(members["lineage.json"]) == CARRIED.lineage
    assert json.loads(members["digests.json"]) == {
        name: sha256(members[name]) for name in NAMES[:-1]
    }
    assert members["model.json"].decode() == (
        '{\n "format": 1,\n "name": "texts",\n "tags": {\n  "corpus": "texts@0123456789ab",\n'
        '  "unreasonable.run_id": "run-1"\n },\n "version": "3"\n}\n'
    )


def test_an_archive_is_the_same_each_time_and_named_by_its_digest(
    good: Path, tmp_path: Path
) -> None:
    again = str(tmp_path / "again.zip")
    turned = Carried(
        CARRIED.name,
        CARRIED.version,
        dict(reversed(CARRIED.files.items())),
        dict(reversed(CARRIED.tags.items())),
        CARRIED.lineage,
    )
    digest = write_archive(again, turned, "ask\n")
    assert Path(again).read_bytes() == good.read_bytes()
    assert digest == sha256(good.read_bytes())


def test_an_archive_is_read_as_it_was_written(good: Path) -> None:
    assert read_archive(str(good)) == CARRIED
    digest = sha256(good.read_bytes())
    assert read_archive(str(good), digest) == read_archive(str(good), digest.upper()) == CARRIED


def test_another_archive_than_the_one_that_was_meant_is_refused(good: Path) -> None:
    found = sha256(good.read_bytes())
    with pytest.raises(DamagedError, match=rf"good.zip has SHA-256 {found}, not 00; get it"):
        read_archive(str(good), "00")


def test_a_place_that_cannot_be_written_or_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"^cannot write \S+/x\.zip: \w+: .*[^X]\. Choose another URL\.$"
    ):
        write_archive(str(tmp_path / "file" / "x.zip"), CARRIED, "")
    with pytest.raises(InputError, match=r"cannot read archive /nowhere\.zip"):
        read_archive("/nowhere.zip")


# What somebody may have changed.


def resealed(members: Members) -> None:
    """Make the archive's own digests true again, as whoever tampers with it would."""
    kept = {name: sha256(data) for name, data in members.items() if name != "digests.json"}
    members["digests.json"] = json.dumps(kept).encode()


def put(name: str, data: bytes, *, seal: bool = True) -> Change:
    def change(members: Members) -> None:
        members[name] = data
        if seal:
            resealed(members)

    return change


def changed_json(name: str, remove: str = "", **changes: Any) -> Change:
    def change(members: Members) -> None:
        value = json.loads(members[name]) | changes
        value.pop(remove, None)
        put(name, json.dumps(value).encode())(members)

    return change


def with_config(remove: str = "", **changes: Any) -> Change:
    return changed_json("config.json", remove, **changes)


def tampered(good: Path, change: Change) -> str:
    """The URL of an archive with a change, packed as we pack them but for that."""
    members = members_of(good)
    change(members)
    bad = good.with_name("bad.zip")
    with zipfile.ZipFile(bad, "w") as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return str(bad)


def with_weights(value: float) -> Change:
    weights = {**WEIGHTS, "head.bias": np.full_like(WEIGHTS["head.bias"], value)}
    return put("weights.safetensors", safetensors.numpy.save(weights))


class Bomb:
    """A pickle that would show that it was loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


FIGURES = {"val_loss": 1.0, "val_bits_per_byte": 1.5}
LINEAGE = ABOUT.to_json()["lineage"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # The archive's own digests.
        (put("weights.safetensors", b"x", seal=False), "weights.safetensors does not have the dig"),
        (
            put("lineage.json", b"{}", seal=False),
            r"lineage.json does not have the digest in digest",
        ),
        (put("digests.json", b"{}", seal=False), "weights.safetensors does not have the digest"),
        (put("digests.json", b"[]", seal=False), "digests.json is not what it should be; get the"),
        (put("digests.json", b"", seal=False), "digests.json is not JSON"),
        # Names.
        (
            put("../evil", b"x"),
            r"\.zip is not a model archive: '\.\./evil' missing, unknown or there twi",
        ),
        (lambda members: members.pop("vocab.json"), "'vocab.json' missing"),
        # Weights, vocabulary and shape.
        (put("weights.safetensors", b"x"), "is not a safetensors file"),
        (put("vocab.json", b"[" * 100_000), "vocab.json"),
        (put("vocab.json", b'{"format": 1, "unit": "byte", "symbols": [1]}'), "vocabulary of 1"),
        (
            with_config(model={"vocab_size": 3, "num_layers": 10**9, "hidden_size": 2}),
            r"does not fit config.json: 1000000000 layers",
        ),
        (
            with_weights(np.nan),
            r"numbers of head\.bias are not finite",
        ),
        (with_weights(np.inf), "are not finite"),
        # Control characters.
        (put("MODEL_CARD.md", b"# a\x1b[2J"), r"MODEL_CARD\.md holds the control character '.x1b'"),
        (changed_json("model.json", tags={}, version="\x9b2J"), "holds the control char"),
        (changed_json("model.json", version="1\n2"), "model.json holds the control character"),
        (changed_json("model.json", tags={"a\x07": "b"}), "holds the control character"),
        (changed_json("model.json", tags={"a": "b\u202e"}), "holds the control character"),
        (
            with_config(corpus={"name": "a\rb", "version": "1", "fingerprint": "c"}),
            "holds the control character",
        ),
        # What the archive says of itself.
        (
            changed_json("model.json", format=99),
            r"bad\.zip is not a format 1 model archive; use the pro",
        ),
        (changed_json("model.json", "format"), "is not a format 1 model archive"),
        (put("model.json", b"[]"), "model.json is not what it should be"),
        (changed_json("model.json", "tags"), "model.json has no tags; get the archive again"),
        (changed_json("model.json", tags=[1]), "model.json has no tags"),
        (changed_json("model.json", tags={"a": 1, "b": "c"}), "model.json has no tags"),
        (
            put("lineage.json", b"nothing"),
            r"lineage.json is not JSON \(.*\); get the archive again",
        ),
        (put("lineage.json", b"[" * 100_000), "lineage.json is not JSON"),
        (put("lineage.json", b"3"), "lineage.json is not what it should be"),
        # The config.
        (put("config.json", b'{"step": ' + b"1" * 5000 + b"}"), "config.json is not JSON"),
        (with_config(first_tokens=[[10**12, 1]]), "first_tokens"),
        (with_config(first_tokens=[[1, float("inf")]]), "first_tokens"),
        (with_config(first_tokens=[[0.5, 1]]), "first_tokens"),
        (with_config("first_tokens"), "config.json lacks 'first_tokens'; get the archive again"),
        (with_config("train"), "config.json lacks 'train'"),
        (with_config(corpus=[]), "does not say what the model learned"),
        (with_config(corpus={"name": "a", "version": "b"}), r"config.json.*'fingerprint'"),
        (with_config(corpus={"name": "a", "version": 1, "fingerprint": "c"}), "not a registered"),
        (with_config(metrics={}), "lacks 'val_loss'"),
        (with_config(metrics={"val_loss": 1.0}), "lacks 'val_bits_per_byte'"),
        (with_config(metrics={**FIGURES, "val_loss": "1.5"}), "not a registered model's"),
        (with_config(metrics={**FIGURES, "val_bits_per_byte": True}), "not a registered model's"),
        (with_config(metrics={**FIGURES, "val_loss": 1e6}), "config.json is not a registered"),
        (with_config(metrics={**FIGURES, "val_loss": -1e6}), "config.json is not a registered"),
        (with_config(metrics={**FIGURES, "val_loss": float("nan")}), "not a registered model's"),
        (with_config("lineage"), "config.json lacks 'lineage'"),
        (with_config(lineage={"sources": ["a"]}), "config.json lacks 'documents_sha256'"),
        (with_config(lineage={**LINEAGE, "documents_sha256": 1}), "not a registered model's"),
        (with_config("sampling"), "config.json lacks 'sampling'"),
        (with_config(sampling={"precision": 8, "tokens": 1}), "not a registered model's"),
        # The card.
        (
            put("MODEL_CARD.md", b"\xff"),
            r"bad\.zip: MODEL_CARD\.md is not text; get the archive again",
        ),
    ],
)
def test_a_tampered_archive_is_refused_by_name(good: Path, change: Change, message: str) -> None:
    bad = tampered(good, change)
    with pytest.raises(InputError, match=message) as refused:
        read_archive(bad)
    assert re.match(re.escape(bad) + r"(: \S|/\S| is not )", str(refused.value))


@pytest.mark.parametrize(
    "change",
    [
        with_config(metrics={"val_loss": 999_999.0, "val_bits_per_byte": 0}),
        changed_json("model.json", tags={}),
        put("LICENCE.txt", b"\xff"),  # it is for people, and nothing reads it
    ],
)
def test_what_is_just_allowed(good: Path, change: Change) -> None:
    read_archive(tampered(good, change))


def test_an_archive_need_not_say_its_name(good: Path) -> None:
    bad = tampered(good, put("model.json", b'{"format": 1, "tags": {}}'))
    carried = read_archive(bad)
    assert (carried.name, carried.version, carried.tags) == ("", "", {})


def test_nothing_in_an_archive_is_executed(good: Path, tmp_path: Path) -> None:
    executed = tmp_path / "executed"
    bad = tampered(good, put("weights.safetensors", pickle.dumps(Bomb(str(executed)))))
    with pytest.raises(InputError, match="is not a safetensors file"):
        read_archive(bad)
    assert not executed.exists()


def test_a_member_that_is_there_twice_is_refused(good: Path) -> None:
    with (
        zipfile.ZipFile(good, "a") as opened,
        pytest.warns(UserWarning, match=r"Duplicate name"),
    ):
        opened.writestr("vocab.json", b"{}")
    with pytest.raises(InputError, match=r"archive: 'vocab.json', 'vocab.json' missing, unkn"):
        read_archive(str(good))


def test_five_names_are_enough_for_a_message(good: Path) -> None:
    def many(members: Members) -> None:
        members.clear()
        members.update({f"a{number}": b"" for number in range(7)})

    with pytest.raises(InputError, match=r"archive: ('\S+', ){4}'\S+' missing"):
        read_archive(tampered(good, many))


def test_half_an_archive_is_refused(good: Path, tmp_path: Path) -> None:
    whole = good.read_bytes()
    half = tmp_path / "half.zip"
    half.write_bytes(whole[:-200])
    with pytest.raises(
        DamagedError, match=r"half\.zip is not a whole zip archive \(.+[^X]\); get it again\.$"
    ):
        read_archive(str(half))
    flipped = tmp_path / "flipped.zip"
    for at in range(len(whole) - 700, len(whole), 3):  # the directory, byte by byte
        flipped.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            read_archive(str(flipped))
        except InputError:
            continue


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in NAMES:
            bomb.writestr(name, b"\0" * 1_000_000)
    with pytest.raises(
        InputError, match=r"bomb\.zip: weights\.safetensors is compressed, .*; get it"
    ):
        read_archive(str(path))


def test_a_member_has_a_largest_size(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert archive.MAX_WEIGHTS_BYTES == 8 * 1024**3
    assert archive.MAX_OTHER_BYTES == 64 * 1024**2
    weights = len(CARRIED.files["weights.safetensors"])
    url = tampered(good, put("LICENCE.txt", b"x" * 9000))  # the largest of the others

    def limit(weights: int, others: int) -> None:
        monkeypatch.setattr(archive, "MAX_WEIGHTS_BYTES", weights)
        monkeypatch.setattr(archive, "MAX_OTHER_BYTES", others)

    # The archive as a whole may have the sum of both.
    monkeypatch.setattr(storage, "read_given", lambda url, limit, what: Path(url).read_bytes())
    limit(weights, 9000)
    assert read_archive(url) == CARRIED
    limit(weights, 8999)
    with pytest.raises(
        InputError, match=r"bad\.zip: LICENCE\.txt has more than 8,999 bytes; it is"
    ):
        read_archive(url)
    limit(weights - 1, 9000)
    with pytest.raises(InputError, match=r"weights.safetensors has more than [\d,]+ bytes"):
        read_archive(url)


def test_no_more_of_a_member_is_read_than_its_bound(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    read = zipfile.ZipExtFile.read

    def watched(self: zipfile.ZipExtFile, size: int | None = -1) -> bytes:
        asked.append(size)
        return read(self, size)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", watched)
    monkeypatch.setattr(archive, "MAX_OTHER_BYTES", 5)
    with pytest.raises(InputError, match="has more than 5 bytes"):
        read_archive(str(good))
    weights = len(CARRIED.files["weights.safetensors"])
    assert asked == [weights + 1, 6]


def test_an_archive_has_a_largest_size(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = len(good.read_bytes()) - 1
    monkeypatch.setattr(archive, "MAX_WEIGHTS_BYTES", limit - 5)
    monkeypatch.setattr(archive, "MAX_OTHER_BYTES", 5)
    with pytest.raises(InputError, match=rf"archive \S+ has more than {limit:,} bytes"):
        read_archive(str(good))
