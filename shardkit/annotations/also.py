"""Further files of a format: what a role names, with the bytes that somebody has read."""

from dataclasses import dataclass

from shardkit.annotations.rows import Rows, decoded, read_rows


@dataclass(frozen=True, slots=True)
class AlsoFile:
    """A file beside the annotation file."""

    name: str
    content: bytes

    def rows(self) -> Rows:
        """Its cells.

        Raises:
            UsageError: The suffix is not one that is read.
            DataError: It is empty, or not what its suffix says.
        """
        return read_rows(self.name, self.content)

    def lines(self) -> list[tuple[int, str]]:
        """Number and text of every line that is not blank, without blanks around it.

        Raises:
            DataError: It is not UTF-8 text.
        """
        lines = decoded(self.name, self.content).splitlines()
        return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
