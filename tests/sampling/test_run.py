from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.errors import DamagedError, InputError
from pipeline.sampling import writer
from pipeline.sampling.job import _engine, _groups, prepare, sample_files
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.plan import make_plan
from pipeline.training import checkpoint
from pipeline.model.artifact import ARTIFACT, FetchedModel
from pipeline.training.config import ModelConfig
from pipeline.model.network import CharRNN, initialize


@pytest.fixture(scope="module")
def model(corpus: Corpus) -> FetchedModel:
    """An untrained model of the corpus: what it writes is noise, and that is enough here."""
    network = CharRNN(ModelConfig(vocab_size=len(corpus.vocab), num_layers=1, hidden_size=16))
    initialize(network, 1)
    about = {
        "corpus": {"name": "texts"},
        "first_tokens": corpus.manifest["first_tokens"],
        "sampling": {"precision": "int8"},
    }
    files = checkpoint.artifact_files(network, corpus.vocab, about)
    assert set(files) == set(ARTIFACT)
    return checkpoint.fetched("m", "1", "models:/m/1", files)


def config(output: Path | str = "", **changes: Any) -> SampleConfig:
    return SampleConfig(
        **{
            "model": "models:/m/1",
            "num_files": 11,
            "num_chars": 1500,
            "output": str(output),
            **changes,
        }
    )


def here(output: Path, model: FetchedModel, **changes: Any) -> dict[str, Any]:
    return sample_files(config(output, **changes), model, "", local=True)


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("sample*")}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_any_number_of_actors_writes_the_same_files(
    tmp_path: Path, model: FetchedModel, local_ray: None
) -> None:
    settings = {"temperature": "0.5,1.0", "num_files": 33}
    for workers in (1, 2):
        sample_files(config(tmp_path / str(workers), num_workers=workers, **settings), model, "")
    here(tmp_path / "here", model, **settings)
    assert texts(tmp_path / "1") == texts(tmp_path / "2") == texts(tmp_path / "here")
    assert [row["file"] for row in rows(tmp_path / "1")] == [
        f"sample-t{t}-{n:05d}.txt" for t in ("0.5", "1") for n in range(33)
    ]
    for row in rows(tmp_path / "1"):
        text = (tmp_path / "1" / row["file"]).read_bytes()
        assert hashlib.sha256(text).hexdigest() == row["sha256"]
        assert len(text) == row["bytes"] == row["num_chars"] == 1500
        assert (row["precision"], row["model"], row["version"]) == ("int8", "m", "1")
    assert {path.name for path in (tmp_path / "1").iterdir()} == {
        *texts(tmp_path / "1"),
        "samples.jsonl",
        "settings.json",
    }


def test_how_many_files_a_job_has_changes_none_of_them(tmp_path: Path, model: FetchedModel) -> None:
    for count in (1, 2, 63, 64, 65, 130):
        here(tmp_path / str(count), model, num_files=count, num_chars=70)
    most = texts(tmp_path / "130")
    assert len({most[name] for name in most if name.endswith(".txt")}) == 130
    for count in (1, 2, 63, 64, 65):
        files = {
            name: text
            for name, text in texts(tmp_path / str(count)).items()
            if name.endswith(".txt")
        }
        assert len(files) == count
        assert all(most[name] == text for name, text in files.items())


def test_a_temperature_of_several_gives_what_it_gives_alone(
    tmp_path: Path, model: FetchedModel
) -> None:
    (tmp_path / "primes.txt").write_bytes(b"def \nclass \n")
    several = {"num_files": 2, "num_chars": 90}
    here(
        tmp_path / "both",
        model,
        **several,
        temperature="0.5,1.0",
        primes=str(tmp_path / "primes.txt"),
    )
    here(tmp_path / "one", model, **several, prime="class ")
    found = texts(tmp_path / "both")
    assert len([name for name in found if name.endswith(".txt")]) == 8
    assert (
        found["sample-t1-p0001-00001.txt"] == (tmp_path / "one" / "sample-00001.txt").read_bytes()
    )
    assert [row["prime"] for row in rows(tmp_path / "both")] == [
        "def ",
        "def ",
        "class ",
        "class ",
    ] * 2


def test_threads_and_environment_change_nothing(tmp_path: Path, model: FetchedModel) -> None:
    """The same job in processes of their own, with other thread counts."""
    files = dict(model.files)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code = f"""
        import sys
        from pathlib import Path
        import torch
        torch.set_num_threads(int(sys.argv[1]))
        from pipeline.sampling.job import sample_files
        from pipeline.sampling.config import SampleConfig
        from pipeline.training import checkpoint
        files = {{name: Path({str(tmp_path)!r}, name).read_bytes() for name in {sorted(files)!r}}}
        model = checkpoint.fetched("m", "1", "models:/m/1", files)
        for precision in ("fp32", "int8"):
            config = SampleConfig(model="m", num_files=3, num_chars=700, precision=precision, output=sys.argv[2] + precision)
            sample_files(config, model, "", local=True)
    """
    for threads in ("1", "2"):
        command = [sys.executable, "-c", textwrap.dedent(code), threads, str(tmp_path / threads)]
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "OMP_NUM_THREADS": threads,
            "NUMBA_NUM_THREADS": threads,
        }
        subprocess.run(
            command, check=True, env=environment, capture_output=True, cwd=Path(__file__).parents[2]
        )
    for precision in ("fp32", "int8"):
        assert texts(tmp_path / f"1{precision}") == texts(tmp_path / f"2{precision}")


def test_a_job_run_again_writes_only_what_is_missing(tmp_path: Path, model: FetchedModel) -> None:
    here(tmp_path, model)
    before = texts(tmp_path)
    (tmp_path / "sample-00003.txt").unlink()
    assert here(tmp_path, model)["written"] == 1
    assert texts(tmp_path) == before
    (tmp_path / "samples.jsonl").unlink()
    assert here(tmp_path, model)["written"] == 11  # nothing says what the files are
    (tmp_path / "sample-00002.txt").write_bytes(before["sample-00002.txt"][:9])
    assert here(tmp_path, model)["written"] == 1
    assert texts(tmp_path) == before
    assert here(tmp_path, model, num_files=13)["written"] == 2
    assert here(tmp_path, model, num_files=2)["written"] == 0
    assert len(rows(tmp_path)) == 13  # fewer files asked for does not forget the others


class StoppedError(Exception):
    """A job that ends where it stands."""


def test_a_stopped_job_goes_on_from_saved_lanes(
    tmp_path: Path, model: FetchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"num_files": 5, "num_chars": 6000, "save_every_s": 1e-9}
    here(tmp_path / "whole", model, **{**settings, "save_every_s": 60.0})
    save, saves = writer.Writer._save, []

    def saving(self: writer.Writer, *args: Any) -> None:
        save(self, *args)
        saves.append(1)
        if len(saves) == 7:
            raise StoppedError

    monkeypatch.setattr(writer.Writer, "_save", saving)
    with pytest.raises(StoppedError):
        here(tmp_path / "part", model, **settings)
    assert not list((tmp_path / "part").glob("*.txt"))
    parts = sorted(
        path.name for path in (tmp_path / "part" / ".partial" / "sample-00004.txt").iterdir()
    )
    assert [name[:10] for name in parts] == [*(f"part-{n:05d}" for n in range(7)), "state.safe"]
    fewer = sample_files(
        config(tmp_path / "part", **{**settings, "num_files": 1}), model, "", local=True
    )
    assert fewer["written"] == 1
    assert (tmp_path / "part" / ".partial" / "sample-00004.txt").exists()  # others' beginnings stay
    monkeypatch.undo()
    told: list[tuple[int, bool]] = []
    job = prepare(config(tmp_path / "part", **settings), model, "")
    writer.Writer(job.plan, job.output, _engine(job.plan)).write(
        job.missing, lambda chars, earlier: told.append((chars, earlier))
    )
    assert (
        sum(chars for chars, earlier in told if earlier) == 4 * 7 * 256
    )  # what was there is not sampled again
    assert sum(chars for chars, _ in told) == 4 * 6000
    here(tmp_path / "part", model, **settings)
    assert texts(tmp_path / "part") == texts(tmp_path / "whole")
    assert not (tmp_path / "part" / ".partial").exists()


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, model: FetchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(tmp_path / "whole", model, num_files=2, num_chars=20_000)
    monkeypatch.setattr(writer, "_BUFFERED_BYTES", 3000)
    largest = 0
    publish = writer.Writer._publish

    def published(self: writer.Writer, text: Any, end: Any) -> dict[str, Any]:
        nonlocal largest
        largest = max(largest, len(text.fresh), *(part[1] for part in text.parts))
        return publish(self, text, end)

    monkeypatch.setattr(writer.Writer, "_publish", published)
    here(tmp_path / "parts", model, num_files=2, num_chars=20_000)
    assert 0 < largest < 2000
    assert texts(tmp_path / "parts") == texts(tmp_path / "whole")


def test_a_damaged_part_or_state_is_refused_by_name(
    tmp_path: Path, model: FetchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"num_files": 1, "num_chars": 3000, "save_every_s": 1e-9}
    monkeypatch.setattr(writer.Writer, "_publish", lambda *_: (_ for _ in ()).throw(StoppedError()))
    with pytest.raises(StoppedError):
        here(tmp_path, model, **settings)
    monkeypatch.undo()
    (part,) = (tmp_path / ".partial" / "sample-00000.txt").glob("part-00001-*")
    good = part.read_bytes()
    part.write_bytes(b"x" + good[1:])
    with pytest.raises(DamagedError, match="part-00001"):
        here(tmp_path, model, **settings)
    part.write_bytes(good)
    (part.parent / "state.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DamagedError, match=r"state\.safetensors is damaged"):
        here(tmp_path, model, **settings)


def test_a_killed_process_loses_and_shows_nothing_half(tmp_path: Path, model: FetchedModel) -> None:
    """kill -9 at several instants; what is there is always complete, and in the end everything is what it would have been."""
    for name, data in model.files.items():
        (tmp_path / name).write_bytes(data)
    script = tmp_path / "job.py"
    script.write_text(
        textwrap.dedent(f"""
        from pathlib import Path
        from pipeline.sampling.job import sample_files
        from pipeline.sampling.config import SampleConfig
        from pipeline.training import checkpoint
        files = {{name: Path({str(tmp_path)!r}, name).read_bytes() for name in {sorted(model.files)!r}}}
        config = SampleConfig(model="m", num_files=6, num_chars=400_000, save_every_s=0.05, output={str(tmp_path / "out")!r})
        print("ready", flush=True)
        sample_files(config, checkpoint.fetched("m", "1", "models:/m/1", files), "", local=True)
    """)
    )
    whole = here(tmp_path / "whole", model, num_files=6, num_chars=400_000)
    assert whole["written"] == 6
    expected = texts(tmp_path / "whole")
    for wait in (0.3, 1.0):
        process = subprocess.Popen(
            [sys.executable, str(script)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        while not (tmp_path / "out").exists():
            time.sleep(0.02)
        time.sleep(2 + wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in (tmp_path / "out").glob("*.txt"):
            assert path.read_bytes() == expected[path.name]
    subprocess.run(
        [sys.executable, str(script)],
        check=True,
        cwd=Path(__file__).parents[2],
        capture_output=True,
    )
    assert texts(tmp_path / "out") == expected


def test_other_settings_do_not_mix_with_what_is_there(tmp_path: Path, model: FetchedModel) -> None:
    here(tmp_path, model)
    for other in (
        {"seed": 2},
        {"temperature": "0.5"},
        {"top_p": 0.9},
        {"stop": "x"},
        {"precision": "fp32"},
        {"prime": "def "},
    ):
        with pytest.raises(InputError, match="other settings"):
            here(tmp_path, model, **other)
    assert here(tmp_path, model, seed=2, num_files=2, overwrite=True)["written"] == 2
    assert len(list(tmp_path.glob("*.txt"))) == 2


def test_files_by_our_names_that_nobody_claims_are_not_touched(
    tmp_path: Path, model: FetchedModel
) -> None:
    (tmp_path / "sample-00000.txt").write_bytes(b"somebody's own")
    with pytest.raises(InputError, match="other settings"):
        here(tmp_path, model)
    assert here(tmp_path, model, overwrite=True)["written"] == 11
    for damaged in (b"{broken", b"[1]", b'{"file": "sample-00000.txt"}'):
        (tmp_path / "samples.jsonl").write_bytes(damaged)
        with pytest.raises(DamagedError, match=r"samples\.jsonl is not what a job writes"):
            here(tmp_path, model)
    (tmp_path / "settings.json").write_bytes(b"{broken")
    with pytest.raises(DamagedError, match=r"settings\.json is not JSON"):
        here(tmp_path, model)
    assert here(tmp_path, model, overwrite=True)["written"] == 11


def test_temperatures_that_are_nearly_one_have_files_of_their_own(
    tmp_path: Path, model: FetchedModel
) -> None:
    here(tmp_path, model, temperature="1.0000001,1.0000002,1", num_files=1, num_chars=50)
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == [
        "sample-t1-00000.txt", "sample-t1.0000001-00000.txt", "sample-t1.0000002-00000.txt",
    ]  # fmt: skip


def test_bad_input_inside_an_actor_is_the_same_line(
    tmp_path: Path, model: FetchedModel, local_ray: None
) -> None:
    state = tmp_path / ".partial" / "sample-00000.txt" / "state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"nothing")
    (tmp_path / "settings.json").write_text(json.dumps(make_plan(config(tmp_path), model).settings))
    with pytest.raises(InputError, match=r"state\.safetensors is damaged"):
        sample_files(config(tmp_path), model, "")
    with pytest.raises(InputError, match="use_gpu needs GPUs"):
        sample_files(config(tmp_path / "gpu", use_gpu=True), model, "")


def test_a_prime_comes_first_and_must_be_in_the_vocabulary(
    tmp_path: Path, model: FetchedModel
) -> None:
    here(tmp_path / "a", model, prime="def ", num_files=1)
    assert (tmp_path / "a" / "sample-00000.txt").read_bytes().startswith(b"def ")
    with pytest.raises(InputError, match="outside the vocabulary: byte 0x00"):
        here(tmp_path / "b", model, prime="de\x00f")
    assert not (tmp_path / "b").exists()
    here(tmp_path / "b", model, prime="de\x00f ", unknown="skip", num_files=1)
    assert texts(tmp_path / "b")["sample-00000.txt"] == texts(tmp_path / "a")["sample-00000.txt"]
    (tmp_path / "prime.py").write_bytes(b"def ")
    here(tmp_path / "c", model, prime_file=str(tmp_path / "prime.py"), num_files=1)
    assert texts(tmp_path / "c")["sample-00000.txt"] == texts(tmp_path / "a")["sample-00000.txt"]


def test_lines_are_items_of_one_file(tmp_path: Path, model: FetchedModel) -> None:
    here(tmp_path, model, lines=40, num_chars=30, num_files=2, prime="d")
    with pytest.raises(InputError, match="line feed cannot begin a line"):
        make_plan(config(tmp_path, lines=3, prime="d\n"), model)
    for row in rows(tmp_path):
        text = (tmp_path / row["file"]).read_bytes()
        items = text.split(b"\n")
        assert items.pop() == b""
        assert len(items) == 40
        assert all(item.startswith(b"d") and len(item) <= 30 for item in items)
        assert row["num_chars"] == len(text) - 40  # the prime of each is read, not sampled


@pytest.mark.parametrize("option", ["prime_file", "primes"])
def test_unreadable_primes_are_one_clear_error(
    tmp_path: Path, model: FetchedModel, option: str
) -> None:
    with pytest.raises(InputError, match=f"cannot read {option}"):
        make_plan(config(tmp_path, **{option: str(tmp_path / "nowhere")}), model)
    (tmp_path / "empty").write_bytes(b"\n\n")
    if option == "primes":
        with pytest.raises(InputError, match="has no lines"):
            make_plan(config(tmp_path, primes=str(tmp_path / "empty")), model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_files": 0}, "num_files is 0"),
        ({"num_chars": -1}, "num_chars is -1"),
        ({"temperature": "nan"}, "temperature is nan"),
        ({"temperature": "0.5,-1"}, r"temperature is -1\.0"),
        ({"temperature": "warm"}, "temperature is 'warm'"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, r"top_p is 0\.0"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"save_every_s": 0.0}, "save_every_s"),
        ({"prime": "a", "primes": "b"}, "prime and primes"),
        ({"lines": 3, "stop": "x"}, "stop has no meaning"),
        ({"prime": "\udcff"}, "not text"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(**changes)


def test_groups_are_even_and_no_larger_than_the_lanes(model: FetchedModel) -> None:
    for files, workers in ((1, 1), (1, 4), (130, 2), (300, 2), (1000, 7)):
        plan = make_plan(config(num_files=files, num_workers=workers), model)
        sizes = [len(group) for group in _groups(plan.samples, plan.config)]
        assert sum(sizes) == files
        assert max(sizes) <= 64
        assert len(set(sizes[:-1])) <= 1
        assert len(sizes) <= workers * -(-files // (64 * workers))
