"""A model as one archive, to be carried from one registry to another: a zip with digests, licence
and model card.

    weights.safetensors config.json vocab.json    the model artifact
    MODEL_CARD.md LICENCE.txt                     for people
    model.json                                    format, name, version, tags
    lineage.json                                  run, corpus, source documents' digests, if known
    digests.json                                  SHA-256 of each file above

An archive comes from anywhere, so nothing in it is believed before it has been checked: members are
picked by name and read with bounds, never extracted, and weights that are not safetensors are
refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline import storage
from pipeline.errors import DamagedError, InputError
from pipeline.model.artifact import ARTIFACT, CARD, CONFIG, WEIGHTS, load_weights
from pipeline.runs import DIGESTS

FORMAT = 1
LICENCE = "LICENCE.txt"
MODEL = "model.json"
LINEAGE = "lineage.json"
MEMBERS = (*ARTIFACT, CARD, LICENCE, MODEL, LINEAGE, DIGESTS)
MAX_FIGURE = 1e6  # of a loss in nats or bits
# Bounds of one member's size, far above any model of ours: reading stops there.
MAX_WEIGHTS_BYTES = 8 << 30
MAX_OTHER_BYTES = 64 << 20
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # zip's first: the same model gives the same archive


@dataclass(frozen=True)
class Carried:
    """What an archive holds, checked: the artifact's files and card, and what it says of itself."""

    name: str
    version: str
    files: dict[str, bytes]
    tags: dict[str, str]
    lineage: dict[str, Any]


def write_archive(url: str, carried: Carried, licence: str) -> str:
    """Publish an archive at a URL; returns its SHA-256, by which whoever gets it can tell that it
    is this one.
    """
    about = {
        "format": FORMAT,
        "name": carried.name,
        "version": carried.version,
        "tags": carried.tags,
    }
    members = {
        **carried.files,
        LICENCE: licence.encode(),
        MODEL: _json(about),
        LINEAGE: _json(carried.lineage),
    }
    digests = {name: storage.sha256_bytes(data) for name, data in members.items()}
    members[DIGESTS] = _json(digests)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in MEMBERS:
            info = zipfile.ZipInfo(name, _FIRST_DATE)
            info.compress_type = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16  # else unzip gives files that nobody may read
            archive.writestr(info, members[name])
    try:
        storage.write_bytes(url, packed.getvalue())
    except Exception as error:  # every store has exceptions of its own
        raise InputError(
            f"cannot write {url}: {type(error).__name__}: {error}. Choose another URL."
        ) from None
    return storage.sha256_bytes(packed.getbuffer())


def read_archive(url: str, sha256: str = "") -> Carried:
    """Read and check an archive; with `sha256` it must be that very one. InputError says what is
    wrong with it.
    """
    data = storage.read_given(url, MAX_WEIGHTS_BYTES + MAX_OTHER_BYTES, "archive")
    digest = storage.sha256_bytes(data)
    if sha256 and digest != sha256.lower():
        raise DamagedError(
            f"{url} has SHA-256 {digest}, not {sha256}; get it again from whoever exported it."
        )
    members = _members(url, data)
    _check_digests(url, members)
    model = _parsed(url, MODEL, members)
    lineage = _parsed(url, LINEAGE, members)
    if model.get("format") != FORMAT:
        raise InputError(
            f"{url} is not a format {FORMAT} model archive; "
            "use the program's version that wrote it."
        )
    files = {name: members[name] for name in (*ARTIFACT, CARD)}
    loaded = load_weights(files, url)  # a config, and weights and a vocabulary that fit it
    for weight, values in loaded.weights.items():
        if not np.isfinite(values).all():
            raise DamagedError(
                f"{url}: {weight} in {WEIGHTS} holds numbers that are not finite; "
                "such a model writes nothing, get another."
            )
    try:
        _check_plain(url, CARD, files[CARD].decode())
    except UnicodeDecodeError:
        raise DamagedError(f"{url}: {CARD} is not text; get the archive again.") from None
    _check_registered(url, _parsed(url, CONFIG, members))
    tags = model.get("tags")
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise DamagedError(f"{url}: {MODEL} has no tags; get the archive again.")
    name = str(model.get("name", ""))
    version = str(model.get("version", ""))
    about = loaded.about.corpus
    for text in (name, version, *tags, *tags.values(), about.name, about.version):
        _check_plain(url, MODEL, text, lines="")
    return Carried(name, version, files, tags, lineage)


def _check_plain(url: str, member: str, text: str, lines: str = "\n\t") -> None:
    """Refuse control characters: on a terminal they are commands, and in a name a disguise."""
    strange = next((char for char in text if not char.isprintable() and char not in lines), "")
    if strange:
        raise DamagedError(
            f"{url}: {member} holds the control character {strange!r}; get the archive again."
        )


def _members(url: str, data: bytes) -> dict[str, bytes]:
    """The archive's members by name: exactly MEMBERS, each within its bound, whatever it says of
    their sizes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_names(url, archive.namelist())
            return {name: _member(url, archive, name) for name in MEMBERS}
    except InputError:
        raise
    except Exception as error:  # zipfile has a dozen for bytes that are no archive
        raise DamagedError(f"{url} is not a whole zip archive ({error}); get it again.") from None


def _check_names(url: str, names: list[str]) -> None:
    if sorted(names) == sorted(MEMBERS):
        return
    odd = sorted(set(names) ^ set(MEMBERS))
    if not odd:
        odd = sorted(name for name in names if names.count(name) > 1)
    shown = ", ".join(map(repr, odd[:5]))
    raise InputError(f"{url} is not a model archive: {shown} missing, unknown or there twice.")


def _member(url: str, archive: zipfile.ZipFile, name: str) -> bytes:
    """One member, read up to its bound: what the archive says of its size may be a lie."""
    info = archive.getinfo(name)
    limit = MAX_WEIGHTS_BYTES if name == WEIGHTS else MAX_OTHER_BYTES
    if name == WEIGHTS and info.compress_type != zipfile.ZIP_STORED:
        # A few kilobytes could unpack to the whole bound. Ours are stored: weights do not compress.
        raise InputError(
            f"{url}: {name} is compressed, which no archive of ours has; "
            "get it from who exported it."
        )
    with archive.open(name) as member:
        data = member.read(min(limit, info.file_size) + 1)
    if len(data) > limit:
        raise InputError(f"{url}: {name} has more than {limit:,} bytes; it is not a model of ours.")
    return data


def _check_digests(url: str, members: dict[str, bytes]) -> None:
    """Refuse what was damaged on its way. Whoever tampers with an archive can make these digests
    true again: against that there is the archive's own SHA-256, and all the checks that follow.
    """
    promised = _parsed(url, DIGESTS, members)
    for name in MEMBERS:
        if name != DIGESTS and promised.get(name) != storage.sha256_bytes(members[name]):
            raise DamagedError(
                f"{url}: {name} does not have the digest in {DIGESTS}; get the archive again."
            )


def _parsed(url: str, name: str, members: dict[str, bytes]) -> dict[str, Any]:
    try:
        value = json.loads(members[name])
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{url}: {name} is not JSON ({error}); get the archive again.") from None
    if not isinstance(value, dict):
        raise DamagedError(f"{url}: {name} is not what it should be; get the archive again.")
    return value


def _check_registered(url: str, config: dict[str, Any]) -> None:
    """Check what registering and sampling read of a config beyond what every model's config has.

    The parsed JSON is looked at: ModelAbout has defaults for what a checkpoint's config may lack.
    """
    try:
        figures = [config["metrics"][name] for name in ("val_loss", "val_bits_per_byte")]
        texts = [config["corpus"][name] for name in ("name", "version", "fingerprint")]
        texts.append(config["lineage"]["documents_sha256"])
        texts.append(config["sampling"]["precision"])
        for name in ("first_tokens", "train"):
            config[name]  # that it is there is enough: its type is known to be right
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{url}: {CONFIG} lacks {error}; get the archive again.") from None
    # type(), not isinstance(): true is no figure. NaN is not below anything.
    are_figures = all(type(value) in (int, float) and abs(value) < MAX_FIGURE for value in figures)
    are_texts = all(isinstance(text, str) for text in texts)
    if not (are_figures and are_texts):
        raise DamagedError(f"{url}: {CONFIG} is not a registered model's; get the archive again.")


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
