"""Models seen from outside and carried between registries: real SQLite registries, real archives."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import models
from pipeline import exchange, storage
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import InputError
from pipeline.registry.tracking import Registry, fetch_model
from pipeline.sampler import load_model, sample
from tests.registering import registered

HOSTILE = "<script>alert(1)</script>|`"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> str:
    """A root with two versions of a model, untrained: 16 and 24 units."""
    root = str(tmp_path_factory.mktemp("home"))
    build_corpus(
        CorpusConfig(
            name="texts", source=str(texts), val=0.2, test=0.0, licence="PSF-2.0", url=HOSTILE
        ),
        root,
    )
    for size in (16, 24):
        registered(root, size)
    return root


def ran(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    models.main(list(argv))
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        models.main(list(argv))
    assert exit_.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_models_are_listed_promoted_and_compared(
    home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ran(capsys, "--root", home, "list")["models"]
    assert [(row["name"], row["version"], row["aliases"], row["run_id"]) for row in rows] == [
        ("texts", "1", [], "run-16"),
        ("texts", "2", [], "run-24"),
    ]
    assert ran(capsys, "--root", home, "promote", "texts/1") == {
        "model": "models:/texts/1",
        "alias": "champion",
        "before": None,
    }
    assert ran(capsys, "--root", home, "promote", "texts/2")["before"] == "models:/texts/1"
    assert Registry(home).named("texts").version == "2"
    assert ran(capsys, "--root", home, "list", "texts")["models"][1]["aliases"] == ["champion"]
    found = ran(capsys, "--root", home, "compare", "texts/1", "texts@champion")
    assert (found["better"], found["figures"]) == ("models:/texts/2", "registered")
    scored = ran(capsys, "--root", home, "compare", "texts/1", "texts/2", "--corpus", "texts")
    assert scored["figures"] == "scored now"
    assert all(5 < score < 9 for score in scored["val_bits_per_byte"].values())  # untrained


def test_a_model_shows_its_lineage_down_to_its_sources(
    home: str, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ran(capsys, "--root", home, "show", "texts/1", "--documents", "3")
    corpus = open_corpus(home, "texts")
    assert shown["corpus"]["fingerprint"] == corpus.fingerprint
    assert shown["corpus"]["url"] == corpus.url
    assert shown["sources"]["documents_sha256"] == corpus.manifest["documents_sha256"]
    assert shown["sources"]["licence"] == "PSF-2.0"
    assert [document["path"] for document in shown["documents"]] == [
        ".hidden.py",
        "_private/keyword.py",
        "abc.py",
    ]
    config = CorpusConfig(name="one", source=str(texts / "abc.py"), val=0.0, test=0.0)
    build_corpus(config, home)  # the digest of a document is the same wherever it is read
    from pipeline.registry.catalogue import _documents

    assert shown["documents"][2]["sha256"] == _documents(open_corpus(home, "one"))[0][1]


def test_a_card_is_data_not_markup(home: str) -> None:
    card = Registry(home).named("texts/1").description
    assert f"| url | `{HOSTILE[:-2]}\\|'` |" in card
    sample_part = card.partition("## A sample\n\n")[2]
    assert all(line.startswith("    ") for line in sample_part.rstrip("\n").split("\n"))
    assert "| licence of the text | `PSF-2.0` |" in card


def test_a_model_goes_from_one_registry_to_another(
    home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, archive = str(tmp_path / "there"), str(tmp_path / "texts.zip")
    exported = ran(capsys, "--root", home, "export", "texts/2", archive)
    assert (
        ran(capsys, "--root", home, "export", "texts/2", f"{archive}2")["sha256"]
        == exported["sha256"]
    )
    imported = ran(capsys, "--root", there, "import", archive, "--sha256", exported["sha256"])
    assert imported["model"] == "models:/texts/1"
    assert imported["tags"]["imported_from"].startswith("texts/2 in ")
    ours, theirs = fetch_model("models:/texts/2", home), fetch_model("models:/texts/1", there)
    assert ours.files == theirs.files
    written = [
        sample(load_model(uri, root), "def ", num_chars=200)
        for uri, root in ((ours.uri, home), (theirs.uri, there))
    ]
    assert written[0] == written[1]
    shown = ran(capsys, "--root", there, "show", "texts")  # no champion: the newest
    assert shown["sources"]["licence"] == "PSF-2.0"
    with zipfile.ZipFile(archive) as opened:
        assert "PSF-2.0" in opened.read("LICENCE.txt").decode()
        assert (
            len(json.loads(opened.read("lineage.json"))["documents"]) == exported["documents"] == 14
        )
    assert (
        ran(capsys, "--root", there, "import", archive, "--name", "borrowed")["model"]
        == "models:/borrowed/1"
    )
    assert "has SHA-256" in refused(
        capsys, "--root", there, "import", archive, "--sha256", "0" * 64
    )
    assert "cannot be registered" in refused(
        capsys, "--root", there, "import", archive, "--name", "a/b"
    )


def changed(archive: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    change(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        for name, data in members.items():
            written.writestr(name, data)
    return out.getvalue()


def resealed(members: dict[str, bytes]) -> None:
    """Make the archive's own digests true again, as whoever tampers with it would."""
    kept = {
        name: storage.sha256_bytes(data)
        for name, data in members.items()
        if name != exchange.DIGESTS
    }
    members[exchange.DIGESTS] = json.dumps(kept).encode()


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("/tmp/unreasonable-was-executed", "w")


def put(name: str, data: bytes, *, seal: bool = True) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members[name] = data
        if seal:
            resealed(members)

    return change


def with_config(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["config.json"] = json.dumps(
            {**json.loads(members["config.json"]), **changes}
        ).encode()
        resealed(members)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("weights.safetensors", pickle.dumps(Bomb())), "is not a safetensors file"),
        (put("weights.safetensors", b"x", seal=False), "does not have the digest"),
        (put("../evil", b"x"), "is not a model archive: '../evil'"),
        (put("vocab.json", b"[" * 100_000), "vocab.json"),
        (put("vocab.json", b'{"format": 1, "unit": "byte", "symbols": [1]}'), "vocabulary of 1"),
        (put("model.json", b'{"format": 99}'), "format 1 model archive"),
        (put("lineage.json", b"nothing"), "lineage.json is not JSON"),
        (with_config(model={"vocab_size": 92, "num_layers": 10**9, "hidden_size": 16}), "layers"),
        (with_config(first_tokens=[[10**12, 1]]), "first_tokens"),
        (with_config(first_tokens=[[1, float("inf")]]), "first_tokens"),
        (with_config(first_tokens=[[0.5, 1]]), "first_tokens"),
        (
            with_config(metrics={"val_loss": "1.5", "val_bits_per_byte": True}),
            "not a registered model's",
        ),
        (with_config(corpus=[]), "does not say what the model learned"),
        (put("config.json", b'{"step": ' + b"1" * 5000 + b"}"), "config.json is not JSON"),
        (put("MODEL_CARD.md", b"\xff"), "MODEL_CARD.md is not text"),
        (with_config(metrics={}), "lacks 'val_loss'"),
        (lambda members: members.pop("vocab.json"), "'vocab.json' missing"),
    ],
)
def test_a_tampered_archive_is_refused_by_name_and_nothing_in_it_runs(
    home: str, tmp_path: Path, change: Callable[[dict[str, bytes]], None], message: str
) -> None:
    from pipeline.registry.catalogue import export_model

    good = tmp_path / "good.zip"
    export_model(Registry(home), Registry(home).named("texts/1"), home, str(good))
    bad = tmp_path / "bad.zip"
    bad.write_bytes(changed(good.read_bytes(), change))
    if "layers" in message:
        vocab = len(open_corpus(home, "texts").vocab)
        bad.write_bytes(
            changed(
                good.read_bytes(),
                with_config(model={"vocab_size": vocab, "num_layers": 10**9, "hidden_size": 16}),
            )
        )
    with pytest.raises(InputError, match=message):
        exchange.read_archive(str(bad))
    assert not Path("/tmp/unreasonable-was-executed").exists()


def test_half_an_archive_and_a_bomb_are_refused(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.registry.catalogue import export_model

    good = tmp_path / "good.zip"
    export_model(Registry(home), Registry(home).named("texts/1"), home, str(good))
    (tmp_path / "half.zip").write_bytes(good.read_bytes()[:-200])
    with pytest.raises(InputError, match="not a whole zip archive"):
        exchange.read_archive(str(tmp_path / "half.zip"))
    whole = good.read_bytes()
    for at in range(len(whole) - 700, len(whole), 3):  # the directory, byte by byte
        (tmp_path / "flipped.zip").write_bytes(
            whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
        )
        try:
            exchange.read_archive(str(tmp_path / "flipped.zip"))
        except InputError:
            continue
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in exchange.MEMBERS:
            bomb.writestr(name, b"\0" * 1_000_000)
    with pytest.raises(InputError, match="is compressed"):
        exchange.read_archive(str(tmp_path / "bomb.zip"))
    monkeypatch.setattr(exchange, "MAX_OTHER_BYTES", 1000)
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        exchange.read_archive(str(good))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["show", "nobody"], "registered are: texts"),
        (["promote", "texts/99"], "no model"),
        (["compare", "texts/1", "texts@nobody"], "no model"),
        (["list", "nobody"], "no model 'nobody'"),
        (["import", "/nowhere.zip"], "cannot read archive /nowhere.zip"),
        (["export", "texts/1"], "archive"),
        (["explode"], "explode"),
        ([], "action"),
    ],
)
def test_bad_input_is_one_clear_line(
    home: str, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert message in refused(capsys, "--root", home, *argv)
