from __future__ import annotations

from pipeline.scheduling.files import (
    attempt_file,
    folded_files,
    known_file,
    newest_summaries,
    number_of,
    summary_file,
)


def test_names_tell_what_is_in_them() -> None:
    assert attempt_file(17, "") == "000017.json"
    assert attempt_file(17, "ended") == "000017.ended.json"
    assert number_of("000017.json", "") == 17
    assert (known_file("a", 0), known_file("a", 2)) == ("a.json", "a.2.json")
    assert newest_summaries([summary_file(2026, 120)]) == {2026: 120}


def test_a_summary_that_holds_more_replaces_what_it_holds() -> None:
    files = [
        *["000001.json", "000001.told.json", "000120.ended.json", "000121.json", "000121.x.json"],
        *["summary.2025.000050.json", "summary.2026.000090.json", "summary.2026.000120.json"],
        *["notes.txt", "000007.json.bak", ".writing-000003.json-1"],
    ]
    assert newest_summaries(files) == {2025: 50, 2026: 120}
    assert folded_files(files) == [
        "summary.2026.000090.json",
        *["000001.json", "000001.told.json", "000120.ended.json"],
    ]
    assert folded_files(["000001.json"]) == []
