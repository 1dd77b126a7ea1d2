"""Write text to the terminal as it comes."""

from __future__ import annotations

from jobs.ending import fail


def main(argv: list[str] | None = None) -> None:
    fail("writing to the terminal is not there yet; use jobs/sample.py.")


if __name__ == "__main__":
    main()
