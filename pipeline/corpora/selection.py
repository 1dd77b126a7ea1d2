"""Which documents a recipe takes from a source, and what they are called."""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase

from pipeline.corpora.config import CorpusConfig


class Selection:
    """A recipe's rules for relative paths.

    `prefix` goes in front of every document's name: it tells several sources apart. `within` is the
    member, folder or pattern of an archive that a chained URL such as zip://MEMBER::URL asks for.
    """

    def __init__(self, config: CorpusConfig, prefix: str = "", within: str = "") -> None:
        self.config = config
        self.prefix = prefix
        self.within = within.strip("/")
        self._strip = _prefix_pattern(config.strip_prefix) if config.strip_prefix else None

    def name(self, path: str) -> str | None:
        """The document's relative path, or None when the recipe leaves it out."""
        if self.within:
            inside = _inside(path, self.within)
            if inside is None:
                return None
            path = inside
        # Folders are dropped first: include and exclude see the path that the document will have.
        match = self._strip.match(path) if self._strip else None
        if match:
            path = path[match.end() :].lstrip("/")
        included = _matches(path, self.config.include)
        if not included or _matches(path, self.config.exclude):
            return None
        return self.prefix + path


def fixed_part(pattern: str) -> str:
    """The folder in front of a glob's first wildcard."""
    return re.split(r"[*?\[]", pattern)[0].rpartition("/")[0]


def _prefix_pattern(strip_prefix: str) -> re.Pattern[str]:
    """The regular expression of --strip_prefix.

    Its wildcards stop at '/', unlike fnmatch's, so that 'linux-*/' drops one folder and not all.
    """
    wildcards = {"*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(wildcards.get(char) or re.escape(char) for char in strip_prefix))


def _inside(path: str, within: str) -> str | None:
    """A member's path below the part of the archive that was asked for; None outside of it."""
    if path == within:
        return posixpath.basename(path)
    if path.startswith(f"{within}/"):
        return path[len(within) + 1 :]
    if fnmatchcase(path, within):
        return path[len(fixed_part(within)) :].lstrip("/")
    return None


def _matches(path: str, patterns: list[str]) -> bool:
    """Whether a path, or the last name in it, matches one of the shell patterns."""
    # By name alone as well: '*.py' takes files in any folder.
    base = posixpath.basename(path)
    return any(fnmatchcase(path, pattern) or fnmatchcase(base, pattern) for pattern in patterns)
