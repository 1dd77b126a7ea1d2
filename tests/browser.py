"""Pages at work in Debian's Chromium: opened from a file, their requests counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Opened:
    """A page, the addresses that it asked for, and what went wrong in it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return self.page.text_content(selector) or ""


@contextmanager
def opened(browser: Any, content: bytes, folder: Path, **context: Any) -> Iterator[Opened]:
    """A page from file://. It must ask for nothing but itself and its worker, and have no error."""
    path = folder / "page.html"
    path.write_bytes(content)
    around = browser.new_context(**context)
    made = Opened(around.new_page())
    around.on("request", lambda request: made.requests.append(request.url))
    made.page.on("pageerror", lambda error: made.errors.append(str(error)))
    made.page.on("console", lambda message: made.errors.append(message.text))
    made.page.on("dialog", lambda dialog: made.errors.append(f"dialog {dialog.message}"))
    made.page.goto(path.as_uri())
    yield made
    asked = [url for url in made.requests if not url.startswith("blob:")]
    assert asked == [path.as_uri()]
    assert made.errors == []
    around.close()
