"""What to sample: the `sample` section of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pipeline import settings
from pipeline.engine.request import Request, check_stop
from pipeline.errors import InputError

MAX_FILES = 10_000_000  # a job keeps a list of them, some hundred bytes each


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """One sampling job: a model, how many files, how long, and how bold."""

    GROUPS: ClassVar[dict[str, str]] = {
        "model": "what to write",
        "temperature": "how bold",
        "prime": "how it begins and ends",
        "seed": "how it is computed",
        "num_workers": "where it runs",
        "save_every_s": "files",
    }
    """the groups of --help: the first setting of each, and its title"""

    model: str
    """models:/NAME@ALIAS, models:/NAME/VERSION, runs:/..., a run id, or the URL of a checkpoint
    folder
    """
    num_files: int = 1
    """files to write for each temperature and prime"""
    num_chars: int = 100_000
    """characters to sample into each file (bytes, for a byte model); with lines, at most so many a
    line
    """
    temperature: str | float | list[float] = field(default="1.0", metadata={"metavar": "X|X,X"})
    """divides the logits: below 1 safer, above 1 bolder; 0 takes the likeliest character; several:
    0.5,0.8,1.0
    """
    top_k: int = 0
    """sample among the k likeliest characters; 0: among all"""
    top_p: float = 1.0
    """sample among the fewest characters that have this probability together (nucleus); 1: among
    all
    """
    prime: str = ""
    """text to start from, written first; with none, files start as the corpus's documents do"""
    prime_file: str = ""
    """URL of a file whose whole content is the prime"""
    primes: str = ""
    """URL of a file of primes, one a line"""
    unknown: Literal["refuse", "skip"] = "refuse"
    """symbols of a prime that are outside the vocabulary: refuse the prime, or leave them out of it
    """
    stop: str = ""
    """text that ends a file early, once it has been written"""
    lines: int = field(default=0, metadata={"bare": "100"})
    """items a file, one a line, each started afresh after a line feed; --lines alone: 100"""
    seed: int = 1
    """seed: the same seed gives the same files"""
    precision: Literal["auto", "fp32", "int8"] = "auto"
    """weights on CPUs; auto: int8 where it was measured to lose nothing when the model was
    registered, else fp32
    """
    num_workers: int = 1
    """actors, one CPU each"""
    use_gpu: bool = False
    """one GPU an actor; reproducible on one type of device only"""
    save_every_s: float = 60.0
    """seconds between savings of long files, from which a killed job goes on"""
    output: str = ""
    """folder for the files; default: <root>/samples/<model>-<settings>"""
    overwrite: bool = False
    """replace what is in the output folder, if it was sampled with other settings"""

    def __post_init__(self) -> None:
        settings.check(self)
        for option in ("num_files", "num_workers"):
            if getattr(self, option) < 1:
                raise InputError(f"{option} is {getattr(self, option)}; it must be at least 1.")
        if self.num_files > MAX_FILES:
            raise InputError(
                f"num_files is {self.num_files}; it must be at most {MAX_FILES:,}: "
                "run several jobs, each with a seed of its own."
            )
        if self.save_every_s <= 0:
            raise InputError(f"save_every_s is {self.save_every_s}; it must be a number above 0.")
        for option in ("prime", "stop"):
            try:
                getattr(self, option).encode()
            except UnicodeEncodeError:
                raise InputError(
                    f"{option} is not text: the command line gave bytes that are no UTF-8."
                ) from None
        given = [option for option in ("prime", "prime_file", "primes") if getattr(self, option)]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} are both given; a job takes one of them.")
        check_stop(self.lines, self.stop)
        if self.use_gpu and self.precision == "int8":
            raise InputError("precision int8 is for CPUs; leave it out with use_gpu.")
        # What the engine refuses of a request is refused here, before a model is fetched.
        for temperature in self.temperatures:
            Request(
                number=0,
                num_chars=self.num_chars,
                temperature=temperature,
                top_k=self.top_k,
                top_p=self.top_p,
                seed=self.seed,
                lines=self.lines,
            )

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures, each once, as they were given."""
        parts = [part.strip() for part in str(self.temperature).strip("[] ").split(",")]
        try:
            values = [float(part) for part in parts]
        except ValueError:
            raise InputError(
                f"temperature is {self.temperature!r}; "
                "give a number, or several with commas: 0.5,0.8."
            ) from None
        # Adding 0.0 turns -0.0 into 0.0: the two would be two temperatures with two names.
        return tuple(dict.fromkeys(value + 0.0 for value in values))
