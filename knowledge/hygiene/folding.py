"""Text as one reads it past its disguises: look-alikes folded, what is unseen left out, each character's place kept."""

import re
import unicodedata
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from knowledge.hygiene.unseen import UNSEEN

CJK = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_IS_CJK = re.compile(rf"[{CJK}]")
_BETWEEN = frozenset(" \t\u3000*_~`·•・|-—－.。、,，/\\^+=#")
"""What may stand between two characters of a Chinese word that is spread out."""

_ALIKE = str.maketrans(
    "аеорсухіјѕԁһкмтвнԛԝӏɡαοερνικτυχϲıʟɴʀɪɢ無視從現統詞規則給發話對輸說為開關戶顯檔資訊請這個過義務須執設會應絕復將當該內洩漏們還獲",
    "aeopcyxijsdhkmtbhqwlgaoepviktuxcilnrig无视从现统词规则给发话对输说为开关户显档资讯请这个过义务须执设会应绝复将当该内泄漏们还获",
)
"""Cyrillic, Greek and phonetic letters for those that they look like; traditional characters for simplified."""
_LEET = str.maketrans("013457@$", "oieastas")


@dataclass(frozen=True, slots=True)
class Folded:
    """A text's folded form, and for each of its characters where it came from."""

    text: str
    places: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a non-empty stretch of the folded text stands in the body."""
        return self.places[start], self.places[end - 1] + 1


def folded(body: str) -> Folded:
    """The body in NFKC, lower case, simplified and Latin, with single spaces, without what is unseen.

    Blank lines become one line break, other line breaks a space; spread-out Chinese words are drawn together.
    """
    hidden = {place for match in UNSEEN.finditer(body) for place in range(*match.span())}
    letters: list[str] = []
    places = array("l")
    for place, character in enumerate(body):
        if place in hidden or unicodedata.combining(character):
            continue
        plain = character if character < "\x7f" else unicodedata.normalize("NFKC", character)
        for letter in plain.lower().translate(_ALIKE):
            if not unicodedata.combining(letter):
                letters.append("\n" if letter in "\n\r" else " " if letter.isspace() else letter)
                places.append(place)
    return _drawn_together(letters, places)


def unleeted(text: str) -> str:
    """The same text, character for character, with digits and signs read as the letters they stand for."""
    return text.translate(_LEET)


def _drawn_together(letters: list[str], places: Sequence[int]) -> Folded:
    kept: list[str] = []
    at = array("l")
    for stretch in re.finditer(r"[^ \n]|[ \n]+", "".join(letters)):
        space = stretch[0][0] in " \n"
        letter = ("\n" if stretch[0].count("\n") > 1 else " ") if space else stretch[0]
        kept.append(letter)
        at.append(places[stretch.start()])
    return _words_joined(kept, at)


def _words_joined(letters: list[str], places: Sequence[int]) -> Folded:
    """Leaves out spaces between Chinese characters, and other separators three or more times in a row: 忽-略-以-上."""
    text = "".join(letters)
    drop = {match.start() for match in _SPACED.finditer(text)}
    for run in _SPREAD.finditer(text):
        drop.update(place for place in range(*run.span()) if letters[place] in _BETWEEN)
    if not drop:
        return Folded(text, places)
    kept = [place for place in range(len(letters)) if place not in drop]
    return Folded("".join(letters[place] for place in kept), array("l", (places[place] for place in kept)))


_SPACED = re.compile(rf"(?<=[{CJK}]) (?=[{CJK}])")
_SPREAD = re.compile(rf"[{CJK}](?:[{re.escape(''.join(sorted(_BETWEEN)))}]{{1,2}}[{CJK}]){{3,}}")
