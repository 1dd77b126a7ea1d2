"""A model in a page writes the bytes that the engine writes in int8, asks for nothing, and refuses
what it cannot hold.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corpora.vocab import Vocab
from pipeline.engine.opening import open_engine
from pipeline.engine.request import Request
from pipeline.errors import InputError
from pipeline.explaining import play
from pipeline.explaining.play import play_page
from pipeline.model.about import PrecisionCheck
from pipeline.model.artifact import ModelArtifact
from pipeline.model.config import ModelConfig
from tests.browser import Opened, opened
from tests.explaining.models import artifact

SETTINGS = {"temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "seed": "seed"}


def write(page: Opened, request: Request) -> str:
    """Have the page write what a request asks; returns the SHA-256 that it shows."""
    page.page.wait_for_selector("body[data-state=ready], body[data-state=ended]", timeout=60_000)
    page.page.fill("#prime", request.prime.decode())
    page.page.fill("#count", str(request.num_chars))
    for name in SETTINGS:
        page.page.fill(f"#{name}", repr(getattr(request, name)))
    page.page.click("#write")
    page.page.wait_for_selector("body[data-state=ended]", timeout=120_000)
    return page.text("#digest")


def engine_writes(model: ModelArtifact, request: Request) -> bytes:
    return open_engine(model, "int8").sample([request])[0]


@pytest.mark.browser
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_twenty_thousand_characters_are_the_engines_byte_for_byte(
    browser: Any, tmp_path: Path, cell: str
) -> None:
    # Weights three times as large as untrained ones saturate gates, as trained ones do.
    model = artifact(cell, size=128, scale=3.0)
    request = Request(number=0, num_chars=20_000, temperature=0.8, prime=b"int main(", seed=7)
    with opened(browser, play_page(model), tmp_path) as page:
        digest = write(page, request)
        text = page.text("#text").encode()
    expected = engine_writes(model, request)
    assert text == expected
    assert digest == hashlib.sha256(expected).hexdigest()


@pytest.mark.browser
def test_every_setting_means_what_it_means_to_the_engine(browser: Any, tmp_path: Path) -> None:
    # Bytes above ASCII, as in the vocabulary of any UTF-8 text: compared by digest.
    model = artifact(vocab=Vocab("byte", range(256)), size=40, embedding=6, scale=4.0)
    asked = [
        {"temperature": 1.0},
        {"temperature": 0.0, "prime": b"ab"},
        {"temperature": 1.3, "top_k": 5},
        {"temperature": 0.5, "top_p": 0.7, "seed": (1 << 63) - 1},
        {"temperature": 0.9, "top_k": 40, "top_p": 0.9, "prime": "Zürich\n".encode()},
    ]
    with opened(browser, play_page(model), tmp_path) as page:
        for settings in asked:
            request = Request(number=0, num_chars=700, **settings)  # type: ignore[arg-type]
            expected = hashlib.sha256(engine_writes(model, request)).hexdigest()
            assert write(page, request) == expected, settings


@pytest.mark.browser
def test_a_vocabulary_of_characters_with_an_unknown_token(browser: Any, tmp_path: Path) -> None:
    model = artifact(vocab=Vocab("char", [None, 10, *range(97, 123), 0x4E00, 0x1F600]), scale=3.0)
    request = Request(number=0, num_chars=900, prime="a\U0001f600".encode(), seed=3, top_p=0.95)
    with opened(browser, play_page(model), tmp_path) as page:
        assert write(page, request) == hashlib.sha256(engine_writes(model, request)).hexdigest()
        page.page.fill("#prime", "aQ")
        page.page.click("#write")
        page.page.wait_for_selector("body[data-state=ready]")
        assert "no symbol for Q (U+0051)" in page.text("#status")


@pytest.mark.browser
def test_a_typed_newline_is_the_return_of_a_model_that_has_no_other(
    browser: Any, tmp_path: Path
) -> None:
    model = artifact(vocab=Vocab("char", [13, *range(97, 123)]), scale=3.0)
    request = Request(number=0, num_chars=300, prime=b"a\rb", seed=3)
    with opened(browser, play_page(model), tmp_path) as page:
        typed = dataclasses.replace(request, prime=b"a\nb")
        expected = engine_writes(model, request)
        assert write(page, typed) == hashlib.sha256(expected).hexdigest()
        # What has no shape in a page is shown as the end of a line that it is.
        assert page.text("#text") == expected.decode().replace("\r", "\n")
        page.page.fill("#own", "a\nb")
        page.page.wait_for_selector('#scored[data-letters="3"]')
        assert page.page.locator("#scored .unknown").count() == 0


@pytest.mark.browser
def test_a_readers_text_is_scored_as_the_engine_scores_it(browser: Any, tmp_path: Path) -> None:
    model = artifact(scale=3.0)
    text = "for (i = 0; i < n; i++) { sum += weights[i]; }\n    return sum;"
    with opened(browser, play_page(model), tmp_path) as page:
        page.page.wait_for_selector("body[data-state=ready]")
        # Typed in two steps and corrected: what came before is not read again.
        for typed in (text[:40], text + "}}", text):
            page.page.fill("#own", typed)
            page.page.wait_for_selector(f'#scored[data-letters="{len(typed)}"]')
        spans = page.page.locator("#scored span")
        nats = [float(value) for value in spans.evaluate_all("all => all.map(a => a.dataset.nats)")]
        assert page.text("#scored") == text
    engine = open_engine(model, "int8")
    tokens = engine.writable.tokens(text.encode())[:, None]
    assert nats[0] == 0
    assert np.mean(nats[1:]) == pytest.approx(engine.score(tokens), abs=1e-4)


@pytest.mark.browser
def test_it_stops_when_told_and_its_cells_light_up(browser: Any, tmp_path: Path) -> None:
    with opened(browser, play_page(artifact(scale=3.0)), tmp_path) as page:
        page.page.wait_for_selector("body[data-state=ready]")
        page.page.fill("#count", "1000000")
        page.page.click("#write")
        page.page.wait_for_selector("body[data-rate]")
        page.page.click("#stop")
        page.page.wait_for_selector("body[data-state=stopped]")
        canvas = page.page.locator("#units canvas").first
        drawn = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)"
        assert canvas.evaluate(drawn)


@pytest.mark.browser
def test_hostile_names_stay_text(browser: Any, tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)>\u2028{{blocks}}"
    content = play_page(artifact(name=hostile), card=hostile)
    with opened(browser, content, tmp_path) as page:
        page.page.wait_for_selector("body[data-state=ready]")
        assert page.page.locator("img").count() == 0
        assert page.text("h1").startswith("</script><img src=x onerror=alert(1)>")


@pytest.mark.browser
def test_a_browser_that_cannot_unpack_says_so(browser: Any, tmp_path: Path) -> None:
    content = play_page(artifact()).replace(b"DecompressionStream", b"NoSuchStream")
    with opened(browser, content, tmp_path) as page:
        page.page.wait_for_selector("body[data-state=failed]")
        assert "NoSuchStream is not defined" in page.text("#status")


def test_the_page_says_what_the_model_is_and_what_int8_costs() -> None:
    text = play_page(artifact()).decode()
    assert "CC0-1.0" in text
    assert "+0.01000 nats a symbol (1.26000 against 1.25000" in text
    assert "fp32 is this model" in text
    own = play_page(artifact(), cost=PrecisionCheck("int8", 100, 2.0, 2.5), card="# a <card>")
    assert "+0.50000 nats a symbol" in own.decode()
    assert "# a &lt;card&gt;" in own.decode()


def test_the_policy_lets_nothing_in_but_the_pages_own_script() -> None:
    text = play_page(artifact()).decode()
    found = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert found
    assert found[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in found[1]
    assert "http" not in found[1]


def test_the_engines_constants_survive_json() -> None:
    about, _ = play.described(artifact())
    again = json.loads(json.dumps(about["arithmetic"]))
    assert again == about["arithmetic"]
    assert np.float32(again["tanh_p"][0]) == again["tanh_p"][0]


def test_too_wide_a_vocabulary_is_refused_with_the_bound() -> None:
    with pytest.raises(InputError, match=r"5,000 symbols times 4,096 gates; .* 67,108,864"):
        play.check_size(ModelConfig(vocab_size=5000, num_layers=1, hidden_size=1024))
    play.check_size(ModelConfig(vocab_size=256, num_layers=3, hidden_size=512))


def test_weights_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="are not finite"):
        play_page(artifact(scale=float("nan")))
