"""What a run had learned when, from samples whose milestones are known."""

from __future__ import annotations

from pipeline.explaining.milestones import Milestone, Sampled, milestones

TEXT = 'He said, "Come home, said Peter, before the evening." They wondered about everything. ' * 20
NOISE = "xqzkvwpfgj" * 40
WORDS = "lkj sdf oiu wer xcv tyu qwe zxc " * 12
SHORT = "the said the said the lkjhgfd uytrewq mnbvcxz lkjhgfd uytrewq, " * 8 + '". "' * 5
LATE = "the He said Peter, said Peter everything wondered about evening, before. " * 8


def run(*samples: str) -> list[Sampled]:
    return [
        Sampled(step=100 * at, loss=3.0 - at / 10, sample=sample)
        for at, sample in enumerate(samples, 1)
    ]


def named(found: tuple[Milestone, ...]) -> dict[str, int | None]:
    return {each.name.split(",")[0]: each.reached for each in found}


def test_each_milestone_is_found_at_its_step() -> None:
    found = named(milestones(run(NOISE, WORDS, SHORT, LATE), TEXT))
    assert found == {
        "spaces": 200,
        "quotes": 300,
        "words of up to 4 letters": 300,
        "names": 400,
        "words of 7 letters and more": 400,
    }


def test_what_is_lost_again_was_not_reached() -> None:
    found = named(milestones(run(WORDS, NOISE, WORDS), TEXT))
    assert found["spaces"] == 300
    assert named(milestones(run(WORDS, NOISE), TEXT))["spaces"] is None


def test_too_few_words_say_nothing() -> None:
    found = milestones(run("Peter"), TEXT)
    assert found[3].figures == (None,)
    assert found[3].reached is None
    assert found[3].to_json()["figures"] == [None]


def test_an_empty_sample_has_learned_nothing() -> None:
    assert set(named(milestones(run(""), TEXT)).values()) == {None}
