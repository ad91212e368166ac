"""The line on which every key of a TOML document stands (`tomllib` keeps none)."""

import re
import tomllib
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]
"""Keys and array indices from the root, e.g. ``("network", 1, "width")``."""

_ROOT: KeyPath = ()
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]*")


class _Scanner:
    """One pass over a document that `tomllib` has accepted; only the structure is read, values are skipped."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {(): 1}
        self._line, self._counted = 1, 0
        self._tables: dict[KeyPath, int] = {}  # length so far of every array of tables

    def run(self) -> dict[KeyPath, int]:
        prefix: KeyPath = ()
        while self._skip_blank():
            if self.text[self.at] == "[":
                prefix = self._header()
            else:
                self._pair(prefix)
        return self.lines

    def _skip_blank(self) -> bool:
        self._match(_BLANK)
        return self.at < len(self.text)

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"no TOML at line {self._line_here()}")
        self.at = found.end()
        return found.group()

    def _line_here(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def _record(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self._line_here())

    def _key(self) -> Iterator[str]:
        """The parts of a dotted key, up to what follows it."""
        while True:
            self._skip_blank()
            if self.text[self.at] in "\"'":
                yield tomllib.loads(f"key = {self._match(_STRING)}")["key"]
            else:
                yield self._match(_BARE_KEY)
            self._skip_blank()
            if self.text[self.at] != ".":
                return
            self.at += 1

    def _header(self) -> KeyPath:
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        path = _ROOT
        parts = list(self._key())
        for i, part in enumerate(parts):
            path = (*path, part)
            self._record(path)
            if is_array and i == len(parts) - 1:
                self._tables[path] = self._tables.get(path, 0) + 1
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
                self._record(path)
        self.at += 2 if is_array else 1
        return path

    def _pair(self, prefix: KeyPath) -> None:
        path = prefix
        for part in self._key():
            path = (*path, part)
            self._record(path)
        self.at += 1  # the equals sign
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip_blank()
        first = self.text[self.at]
        if first in "\"'":
            self._match(_STRING)
        elif first in "[{":
            self.at += 1
            self._items(path, is_array=first == "[")
        else:
            self._match(_SCALAR)

    def _items(self, path: KeyPath, is_array: bool) -> None:
        index = 0
        while self._skip_blank() and self.text[self.at] not in "]}":
            if is_array:
                self._record((*path, index))
                self._value((*path, index))
                index += 1
            else:
                self._pair(path)
            self._skip_blank()
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) on which every key and every array element of a TOML document begins.

    A table is on the line of its header, or of the key that creates it. The root is ``()``.

    Args:
        text: A document that `tomllib.loads` accepts.

    Example:
        >>> key_lines('name = "a"\\n[[network]]\\nwidth = 3\\n[[network]]\\nwidth = 4')[("network", 1, "width")]
        5
    """
    return _Scanner(text).run()


def nearest(lines: dict[KeyPath, int], path: KeyPath) -> KeyPath:
    """The longest beginning of ``path`` that the document contains.

    Example:
        >>> nearest({(): 1, ("task",): 3}, ("task", "digits"))
        ('task',)
    """
    while path not in lines:
        path = path[:-1]
    return path
