"""A model as one archive, to be carried from one registry to another: a zip with digests, licence and model card.

    weights.safetensors config.json vocab.json    the model artifact
    MODEL_CARD.md LICENCE.txt                     for people
    model.json                                    format, name, version, tags
    lineage.json                                  run, corpus, and every source document's digest where it is known
    digests.json                                  SHA-256 of each file above

An archive comes from anywhere, so nothing in it is believed before it has been checked: members are picked by name and
read with bounds, never extracted, and weights that are not safetensors are refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.errors import DamagedError, InputError
from pipeline.training import checkpoint
from pipeline.training.artifact import ARTIFACT, CARD, CONFIG, WEIGHTS

FORMAT = 1
LICENCE, MODEL, LINEAGE, DIGESTS = "LICENCE.txt", "model.json", "lineage.json", "digests.json"
MEMBERS = (*ARTIFACT, CARD, LICENCE, MODEL, LINEAGE, DIGESTS)
MAX_FIGURE = 1e6  # of a loss in nats or bits
MAX_WEIGHTS_BYTES, MAX_OTHER_BYTES = 8 << 30, 64 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's first date: the same model gives the same archive


@dataclass(frozen=True)
class Carried:
    """What an archive holds, checked: the artifact's files and card, and what it says of itself."""

    name: str
    version: str
    files: dict[str, bytes]
    tags: dict[str, str]
    lineage: dict[str, Any]


def write_archive(url: str, carried: Carried, licence: str) -> str:
    """Publish an archive at a URL; returns its SHA-256, by which whoever gets it can tell that it is this one."""
    about = {"format": FORMAT, "name": carried.name, "version": carried.version, "tags": carried.tags}
    members = {
        **carried.files,
        LICENCE: licence.encode(),
        MODEL: _json(about),
        LINEAGE: _json(carried.lineage),
    }
    members[DIGESTS] = _json({name: storage.sha256_bytes(data) for name, data in sorted(members.items())})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in MEMBERS:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name])
    try:
        storage.write_bytes(url, packed.getvalue())
    except Exception as error:  # every store has exceptions of its own
        raise InputError(f"cannot write {url}: {type(error).__name__}: {error}. Choose another URL.") from None
    return storage.sha256_bytes(packed.getbuffer())


def read_archive(url: str, sha256: str = "") -> Carried:
    """Read and check an archive; with `sha256` it must be that very one. InputError says what is wrong with it."""
    data = storage.read_given(url, MAX_WEIGHTS_BYTES + MAX_OTHER_BYTES, "archive")
    found = storage.sha256_bytes(data)
    if sha256 and found != sha256.lower():
        raise DamagedError(f"{url} has SHA-256 {found}, not {sha256}; get it again from whoever exported it.")
    members = _members(url, data)
    promised = _parsed(url, DIGESTS, members)
    for name in MEMBERS[:-1]:
        if promised.get(name) != storage.sha256_bytes(members[name]):
            raise DamagedError(f"{url}: {name} does not have the digest in {DIGESTS}; get the archive again.")
    about, lineage = _parsed(url, MODEL, members), _parsed(url, LINEAGE, members)
    if about.get("format") != FORMAT:
        raise InputError(f"{url} is not a format {FORMAT} model archive; use the program's version that wrote it.")
    files = {name: members[name] for name in (*ARTIFACT, CARD)}
    config = checkpoint.fetched("", "", url, files).config
    checkpoint.load_model(files, url)  # weights, vocabulary and shape fit
    try:
        files[CARD].decode()
    except UnicodeDecodeError:
        raise DamagedError(f"{url}: {CARD} is not text; get the archive again.") from None
    _check_config(url, config)
    tags = about.get("tags")
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise DamagedError(f"{url}: {MODEL} has no tags; get the archive again.")
    return Carried(str(about.get("name", "")), str(about.get("version", "")), files, tags, lineage)


def _members(url: str, data: bytes) -> dict[str, bytes]:
    """The archive's members by name: exactly MEMBERS, each within its bound, whatever the archive says of their sizes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if sorted(names) != sorted(MEMBERS):
                odd = sorted(set(names) ^ set(MEMBERS)) or sorted(name for name in names if names.count(name) > 1)
                raise InputError(
                    f"{url} is not a model archive: {', '.join(map(repr, odd[:5]))} missing, unknown or there twice."
                )
            members = {}
            for name in MEMBERS:
                most = MAX_WEIGHTS_BYTES if name == WEIGHTS else MAX_OTHER_BYTES
                if name == WEIGHTS and archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                    raise InputError(f"{url}: {name} is compressed, which no archive of ours has; get it from who exported it.")
                with archive.open(name) as member:
                    members[name] = member.read(min(most, archive.getinfo(name).file_size) + 1)
                if len(members[name]) > most:
                    raise InputError(f"{url}: {name} has more than {most:,} bytes; it is not a model of ours.")
            return members
    except InputError:
        raise
    except Exception as error:  # zipfile has a dozen for bytes that are no archive
        raise DamagedError(f"{url} is not a whole zip archive ({error}); get it again.") from None


def _parsed(url: str, name: str, members: dict[str, bytes]) -> dict[str, Any]:
    try:
        value = json.loads(members[name])
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{url}: {name} is not JSON ({error}); get the archive again.") from None
    if not isinstance(value, dict):
        raise DamagedError(f"{url}: {name} is not what it should be; get the archive again.")
    return value


def _check_config(url: str, config: dict[str, Any]) -> None:
    """What registering and sampling read of a config beyond the model's shape."""
    try:
        numbers = [config["metrics"][key] for key in ("val_loss", "val_bits_per_byte")]
        texts = [config["corpus"][key] for key in ("name", "version", "fingerprint")]
        texts += [config["lineage"]["documents_sha256"], config["sampling"]["precision"]]
        figures = all(type(number) in (int, float) and abs(number) < MAX_FIGURE for number in numbers)
        starts = isinstance(config["first_tokens"], list)
        fine = figures and starts and all(isinstance(text, str) for text in texts) and isinstance(config["train"], dict)
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{url}: {CONFIG} lacks {error}; get the archive again.") from None
    if not fine:
        raise DamagedError(f"{url}: {CONFIG} is not a registered model's; get the archive again.")


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
