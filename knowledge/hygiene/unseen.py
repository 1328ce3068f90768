"""Characters that a reader does not see."""

import re

JOINER, WIDE_SELECTOR = "\u200d", "\ufe0f"
BIDI = "\u202a-\u202e\u2066-\u2069"
TAGS = "\U000e0000-\U000e007f"
ZERO_WIDTH = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0"
CONTROL = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"

# A joiner between two emoji, and the letters of a regional flag after a black flag, are part of what is seen.
_PICTURE = "\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f\u2190-\u21ff"
_STRAY_JOINER = rf"(?<![{_PICTURE}]){JOINER}|{JOINER}(?![{_PICTURE}])"
UNSEEN = re.compile(rf"[{BIDI}{TAGS}{ZERO_WIDTH}{CONTROL}\u200c]|{_STRAY_JOINER}")
