"""Write a model's text to the terminal as it comes, without Ray.

MODEL is NAME (its champion, or its newest version), NAME@ALIAS, NAME/VERSION, models:/..., a run
id, a checkpoint's folder, or an archive that `models.py export` wrote. Without a prime, a terminal
is asked for one a line, and a pipe's whole text is the prime. Text goes to stdout, all else to
stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

try:
    from jobs.arguments import Parser
except ModuleNotFoundError as missing:  # a Python without the package
    from uninstalled import refuse  # type: ignore[import-not-found]  # it lies beside this file

    refuse(missing)
from jobs.ending import INTERRUPTED, fail
from pipeline import kinds
from pipeline.errors import InputError
from pipeline.progress import log_to_stderr
from pipeline.sampling.config import SampleConfig

if TYPE_CHECKING:
    from pipeline.sampler import Model

NUM_CHARS = 1000
ALSO = {"length": ("num_chars",)}  # what other doors call it
MAX_PRIME_BYTES = 16 << 20  # as for --prime_file of jobs/sample.py
# What would move a terminal's cursor, colour it, or turn the order of letters round. A line feed
# and a tab are text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def write(values: dict[str, Any]) -> None:
    """Write the text, or, at a terminal without a prime, one for each line that is typed."""
    is_asked = values["prime"] is None and sys.stdin is not None and sys.stdin.isatty()
    prime = "" if is_asked else _prime(values["prime"])
    config = SampleConfig(
        model=values["model"],
        prime=prime,
        num_chars=values["length"],
        temperature=repr(values["temperature"]),
        **{name: values[name] for name in ("seed", "top_k", "top_p", "stop", "unknown")},
        precision=values["precision"],
    )
    # Late: numba takes 0.2 s, and a wrong setting should not wait for it. torch is never imported,
    # mlflow for a registry's models alone.
    from pipeline.sampler import load_model

    model = load_model(config.model, values["root"], config.precision)
    if is_asked:
        _converse(model, config)
    else:
        _show(model, config)


def visible(text: str) -> str:
    """A text as a terminal may get it: control characters as \\x1b. A model may have learned from
    anybody's text, and escape sequences would be obeyed.
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def _show(model: Model, config: SampleConfig, number: int = 0) -> None:
    """Write one text to stdout: to a pipe its bytes, to a terminal what can be shown, and the end
    of the last line.
    """
    from pipeline.sampling.api import decoded, written

    pieces = written(model, config, number)
    if not sys.stdout.isatty():
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return
    last = "\n"
    try:
        for text in decoded(pieces):
            last = text[-1]
            sys.stdout.write(visible(text))
            sys.stdout.flush()
    finally:
        # Else what comes next, such as the shell's own line, would stand behind the text.
        if last != "\n":
            sys.stdout.write("\n")
            sys.stdout.flush()


def _converse(model: Model, config: SampleConfig) -> None:
    """A text for each prime that is typed, until Ctrl-D. Ctrl-C ends a text; at the prompt, all.

    A prime that comes again gets the next text of its settings, as a job's next file would be.
    """
    _say("A prime a line (or none); Ctrl-C ends a text, Ctrl-D ends.\n")
    texts: Counter[str] = Counter()
    for prime in _typed():
        try:
            _show(model, dataclasses.replace(config, prime=prime), texts[prime])
        except InputError as error:
            _say(f"error: {error}\n")
        except KeyboardInterrupt:
            _say("\n")
        texts[prime] += 1


def _typed() -> Iterator[str]:
    """The lines that are typed at the terminal."""
    while True:
        _say("> ")
        line = sys.stdin.buffer.readline()
        if not line:
            _say("\n")
            return
        yield line.rstrip(b"\r\n").decode("utf-8", "replace")


def _prime(given: str | None) -> str:
    """The prime of the command line, else all of what is piped in, as --prime_file takes a file."""
    if given is not None:
        return given
    if sys.stdin is None:  # closed, as a service manager may leave it
        return ""
    piped = sys.stdin.buffer.read(MAX_PRIME_BYTES + 1)
    if len(piped) > MAX_PRIME_BYTES:
        raise InputError(f"the prime on stdin has more than {MAX_PRIME_BYTES:,} bytes; cut it.")
    try:
        return piped.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"the prime on stdin is not UTF-8 at byte {error.start}; pipe in text."
        ) from None


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def parser() -> Parser:
    own = Parser(description=__doc__)
    own.add_argument("model", metavar="MODEL", help="what to write with: see above")
    own.add_argument(
        "prime", metavar="PRIME", nargs="?", help="text to start from, which is written first"
    )

    def option(name: str, kind: type, default: Any, metavar: str, about: str) -> None:
        def read(text: str) -> Any:
            try:
                return kinds.read(kind, text)
            except ValueError:
                needed = "a whole number" if kind is int else "a number"
                raise argparse.ArgumentTypeError(f"{text!r} is not {needed}") from None

        shown = f"{about} (default: {default})" if default != "" else about
        names = [f"--{name}", *(f"--{also}" for also in ALSO.get(name, ()))]
        own.add_argument(*names, type=read, default=default, metavar=metavar, help=shown)

    option("length", int, NUM_CHARS, "N", "characters to write behind the prime")
    option("temperature", float, 1.0, "X", "below 1 safer, above 1 bolder; 0: always the likeliest")
    option("seed", int, 1, "N", "the same seed gives the same text")
    option("top_k", int, 0, "N", "choose among the k likeliest characters; 0: among all")
    option("top_p", float, 1.0, "X", "choose among the fewest that have this probability together")
    option("stop", str, "", "TEXT", "text that ends it early, once it has been written")
    own.add_argument(
        "--precision",
        choices=("auto", "fp32", "int8"),
        default="auto",
        help="auto: int8 where it was measured to lose nothing when the model was registered",
    )
    own.add_argument(
        "--unknown",
        choices=("refuse", "skip"),
        default="refuse",
        help="characters of the prime that the model does not know: refuse them, or leave them out",
    )
    own.add_root()
    return own


def main(argv: list[str] | None = None) -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    try:
        log_to_stderr()
        write(parser().parse_args(argv).as_dict())
    except InputError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever reads has enough. Python flushes stdout once more as it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk behind >, above all
        fail(f"cannot go on: {error}.")


if __name__ == "__main__":
    main()
