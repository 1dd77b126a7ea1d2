"""Settings of a run: each is checked before anything starts, and says what to change."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.model.config import ModelConfig
from pipeline.training.config import (
    ENDS,
    LATER,
    MAY_CHANGE,
    RESUMABLE,
    Interval,
    TrainConfig,
    later_defaults,
    settings_digest,
    stored_settings,
)


def made(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"corpus": "texts", **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        made(**changes)
    return str(caught.value)


def test_defaults_are_char_rnns_where_it_has_them() -> None:
    assert dataclasses.asdict(made()) == {
        "corpus": "texts",
        "cell": "lstm",
        "num_layers": 2,
        "hidden_size": 128,
        "embedding_size": 0,
        "dropout": 0.0,
        "global_batch_size": 50,
        "seq_len": 50,
        "optimizer": "rmsprop",
        "learning_rate": 2e-3,
        "schedule": "constant",
        "warmup_steps": 0,
        "decay_rate": 0.97,
        "decay_after": 10,
        "rms_decay": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 5.0,
        "max_grad_value": 0.0,
        "initialization": "scaled",
        "carry_state": False,
        "batches_per_update": 1,
        "min_learning_rate": 0.0,
        "decay_every": 1,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay_on": "all",
        "max_summed_grad_value": 0.0,
        "gpus_per_worker": 1,
        "max_rollbacks": 10,
        "snapshot_every": 100,
        "accumulate": 1,
        "init_from": "",
        "max_steps": 0,
        "max_epochs": 50,
        "max_minutes": 0.0,
        "patience": 0,
        "eval_every": 500,
        "eval_lanes": 32,
        "checkpoint_every": "5m",
        "keep_checkpoints": 2,
        "sample_every": 0,
        "sample_chars": 500,
        "seed": 1,
        "precision": "fp32",
        "compile": False,
        "num_workers": 1,
        "cpus_per_worker": 1,
        "use_gpu": False,
        "verify": False,
        "resume": "",
        "sync": "",
        "fork": "",
    }


AT_LEAST_1 = [
    "num_layers", "hidden_size", "global_batch_size", "seq_len", "eval_lanes", "keep_checkpoints",
    "accumulate", "sample_chars", "cpus_per_worker", "snapshot_every",
    "batches_per_update", "decay_every", "gpus_per_worker",
]  # fmt: skip
AT_LEAST_0 = [
    "embedding_size", "warmup_steps", "decay_after", "max_steps", "max_epochs", "patience", "seed",
    "decay_rate", "rms_decay", "weight_decay", "max_grad_norm", "max_grad_value", "max_minutes",
    "dropout", "max_rollbacks", "min_learning_rate", "beta1", "beta2", "max_summed_grad_value",
]  # fmt: skip


@pytest.mark.parametrize("option", AT_LEAST_1)
def test_sizes_are_at_least_1(option: str) -> None:
    assert refusal(**{option: 0}) == f"{option} is 0; it must be a number of at least 1."
    assert getattr(made(**{option: 1}), option) == 1


@pytest.mark.parametrize("option", AT_LEAST_0)
def test_amounts_are_at_least_0(option: str) -> None:
    assert refusal(**{option: -1}) == f"{option} is -1; it must be a number of at least 0."
    other = {"max_steps": 5} if option == "max_epochs" else {}
    assert getattr(made(**{option: 0, **other}), option) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("option", ["learning_rate", "dropout", "max_grad_norm", "max_minutes"])
def test_numbers_are_finite(option: str, value: float) -> None:
    assert refusal(**{option: value}) == f"{option} is {value}; it must be a finite number."


def test_limits_from_above() -> None:
    assert refusal(learning_rate=0) == "learning_rate is 0; it must be above 0."
    assert refusal(learning_rate=-1).startswith("learning_rate is -1; it must be a number")
    assert refusal(dropout=1) == "dropout is 1; it must be below 1."
    assert made(dropout=0.999).dropout == 0.999
    assert refusal(seed=2**63) == (
        f"seed is {2**63}; it must be a whole number below 2**63, such as 8, 1e3 or 16M."
    )
    assert made(seed=2**63 - 1).seed == 2**63 - 1


def test_several_gpus_a_worker_are_refused_with_what_to_do() -> None:
    assert refusal(gpus_per_worker=4) == (
        "gpus_per_worker is 4; a worker trains on one GPU. "
        "For several, give --use_gpu and a worker each: --num_workers 4."
    )


def test_optimisation_that_could_not_work_is_refused() -> None:
    assert refusal(beta1=1) == "beta1 is 1; it must be below 1."
    assert refusal(beta2=1.5) == "beta2 is 1.5; it must be below 1."
    assert refusal(eps=0) == "eps is 0; it must be above 0."
    assert refusal(min_learning_rate=1) == (
        "min_learning_rate is 1; it must be at most learning_rate, 0.002."
    )
    assert refusal(max_grad_value=1, max_summed_grad_value=5).endswith("; give one of them.")


def test_a_clip_of_the_summed_gradient_is_a_share_of_it_on_the_mean() -> None:
    assert made(max_summed_grad_value=5, seq_len=50).grad_value_limit == 0.1
    assert made(max_grad_value=5, seq_len=50).grad_value_limit == 5
    assert made().grad_value_limit == 0


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_reduced_precision_needs_a_gpu(precision: str) -> None:
    assert refusal(precision=precision) == (
        f"precision {precision} needs a GPU; give --use_gpu, or --precision fp32."
    )
    assert made(precision=precision, use_gpu=True).use_gpu
    assert made(precision="fp32", use_gpu=True).use_gpu


def test_a_run_has_an_end_and_cosine_knows_it() -> None:
    never = "the run would never end: give --max_steps, --max_epochs or --max_minutes."
    assert refusal(max_epochs=0) == never
    assert refusal(max_epochs=0, schedule="cosine") == never
    unknown = "schedule cosine needs to know its end: give --max_steps or --max_epochs."
    assert refusal(max_epochs=0, max_minutes=5, schedule="cosine") == unknown
    for end in ({"max_steps": 1}, {"max_epochs": 1}, {"max_minutes": 0.1}):
        assert made(**{"max_epochs": 0, **end})
    assert made(max_epochs=0, max_minutes=5, schedule="decay")
    assert made(max_epochs=0, max_steps=5, schedule="cosine")
    assert made(max_epochs=5, schedule="cosine")


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        (500, Interval(steps=500)),
        ("500", Interval(steps=500)),
        (1, Interval(steps=1)),
        ("5m", Interval(minutes=5.0)),
        ("0.25m", Interval(minutes=0.25)),
    ],
)
@pytest.mark.parametrize("option", ["eval_every", "checkpoint_every"])
def test_intervals_are_steps_or_minutes(option: str, value: Any, interval: Interval) -> None:
    assert made(**{option: value}).interval(option) == interval


@pytest.mark.parametrize("value", [0, -5, "0", "0m", "-1m", "m", "5s", "", "nanm", "infm", "2.5"])
@pytest.mark.parametrize("option", ["eval_every", "checkpoint_every"])
def test_other_intervals_are_refused(option: str, value: Any) -> None:
    assert refusal(**{option: value}) == (
        f"{option} is {value}; it must be a number of steps above 0, or minutes such as 5m."
    )


def test_an_interval_is_nothing_until_it_is_set() -> None:
    assert Interval() == Interval(0, 0.0)


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        (0, []),
        ("0", []),
        (3, [3, 6, 9]),
        ("3", [3, 6, 9]),
        ("3,7", [3, 7]),
        ([3, 7], [3, 7]),
        ("7,", None),
        ("1,1", [1]),
    ],
)
def test_samples_are_due_every_so_many_steps_or_at_those_of_a_list(
    value: Any, steps: list[int] | None
) -> None:
    if steps is None:
        assert refusal(sample_every=value) == (
            f"sample_every is {value!r}; it must be a number of steps, or a list such as 100,300."
        )
        return
    config = made(sample_every=value)
    assert [step for step in range(1, 11) if config.samples_at(step)] == steps


@pytest.mark.parametrize("value", ["5m", "x", ""])
def test_samples_by_minutes_are_refused(value: str) -> None:
    assert refusal(sample_every=value) == (
        f"sample_every is {value!r}; it must be a number of steps, or a list such as 100,300."
    )


@pytest.mark.parametrize("value", [-1, "-1"])
def test_samples_at_negative_steps_are_refused(value: Any) -> None:
    assert refusal(sample_every=value) == "sample_every is -1; it must be at least 0."


@pytest.mark.parametrize(
    ("value", "workers"), [(1, (1, 1)), ("3", (3, 3)), ("1:4", (1, 4)), ("2:2", (2, 2))]
)
def test_workers_are_a_number_or_a_range(value: Any, workers: tuple[int, int]) -> None:
    assert made(num_workers=value).workers == workers


@pytest.mark.parametrize("value", [0, -1, "0:2", "3:2", "2:-1"])
def test_workers_are_at_least_one(value: Any) -> None:
    assert refusal(num_workers=value) == (
        f"num_workers is {value}; it must be at least 1, or LOW:HIGH with LOW at least 1."
    )


@pytest.mark.parametrize("value", ["many", ":", "1:2:3", "", "1.5"])
def test_workers_are_whole_numbers(value: str) -> None:
    assert refusal(num_workers=value) == (
        f"num_workers is {value!r}; it must be a number, or LOW:HIGH."
    )


def test_every_worker_has_a_lane() -> None:
    assert made(num_workers="1:4", global_batch_size=4).workers == (1, 4)
    assert refusal(num_workers="1:5", global_batch_size=4) == (
        "5 workers share 4 lanes; "
        "each needs one at least: lower --num_workers or raise --global_batch_size."
    )


def test_the_model_has_the_configured_shape() -> None:
    config = made(cell="gru", num_layers=3, hidden_size=7, embedding_size=5, dropout=0.25)
    assert config.model(99) == ModelConfig(
        vocab_size=99, cell="gru", num_layers=3, hidden_size=7, embedding_size=5, dropout=0.25
    )


@pytest.mark.parametrize(
    ("max_steps", "max_epochs", "total"), [(0, 5, 50), (7, 5, 7), (70, 5, 50), (7, 0, 7)]
)
def test_the_first_end_that_is_known_counts(max_steps: int, max_epochs: int, total: int) -> None:
    assert made(max_steps=max_steps, max_epochs=max_epochs).total_steps(10) == total


def test_the_clock_alone_ends_a_run_without_a_last_step() -> None:
    assert made(max_epochs=0, max_minutes=1).total_steps(10) == 0


def test_values_that_only_hurt_later_are_refused() -> None:
    for value in (1.0, 1.5):
        assert refusal(rms_decay=value) == f"rms_decay is {value}; it must be below 1."
    assert refusal(compile=True).startswith("compile cannot be had for an lstm on CPUs")
    assert made(compile=True, cell="gru").compile
    assert made(compile=True, use_gpu=True).compile


def test_the_digest_is_of_the_settings_that_decide_the_weights() -> None:
    settings = dataclasses.asdict(made())
    # By this digest models are found that were trained before: it must not change.
    assert settings_digest(settings) == "22edc59a3573"
    backwards = dict(sorted(settings.items(), reverse=True))
    assert settings_digest(backwards) == settings_digest(settings)
    for name in settings:
        changed = settings | {name: "another"}
        same = settings_digest(changed) == settings_digest(settings)
        assert same == (name in MAY_CHANGE), name


def test_files_and_digests_leave_out_later_settings_at_their_defaults() -> None:
    plain = made()
    assert set(dataclasses.asdict(plain)) - set(stored_settings(plain)) == LATER
    other = made(max_rollbacks=3)
    assert stored_settings(other) == stored_settings(plain) | {"max_rollbacks": 3}
    assert settings_digest(dataclasses.asdict(other)) == settings_digest(stored_settings(other))
    assert settings_digest(stored_settings(plain)) == settings_digest(dataclasses.asdict(plain))
    assert all(later_defaults()[name] == getattr(plain, name) for name in LATER)


def test_what_may_change_and_when() -> None:
    assert {
        "corpus", "verify", "num_workers", "cpus_per_worker", "use_gpu", "gpus_per_worker",
        "checkpoint_every",
        "keep_checkpoints", "sample_every", "sample_chars", "resume", "sync",
    } == MAY_CHANGE  # fmt: skip
    assert {"max_steps", "max_epochs", "max_minutes"} == ENDS
    assert {"eval_every", "eval_lanes", "patience", "accumulate"} == RESUMABLE
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    assert names >= MAY_CHANGE | ENDS
