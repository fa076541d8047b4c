"""Guesses the language of a description, well enough to detect a model that answers in another one.

Scripts tell many languages apart; for the Latin ones function words do. There may be no guess: short or
unusual texts are never rejected for their language.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_FUNCTION_WORDS = {
    "en": "the and of is with she he they his her their has in an are who for at by on works lives likes",
    "es": "el la los las y de es con una en su que por para del se le tiene trabaja vive años",
    "fr": "le la les et de est avec une dans sa son que pour des elle il qui du ans travaille habite",
    "de": "der die das und ist mit eine ein in sie er ihr sein für im den dem als sich nicht hat jahre",
    "it": "il la gli e di è con una un in sua suo che per della del si ha anni lavora vive lei",
    "pt": "o a os as e de é com uma um em sua seu que por para do da não tem anos trabalha ela ele",
    "nl": "de het een en van is met in zijn haar ze hij die voor op niet heeft jaar werkt woont zij",
    "pl": "i w z na jest się do nie ma że jej jego oraz od lat pracuje mieszka ona on jako po",
    "sv": "och är med en ett i som på för hon han av den till har sin inte år arbetar bor",
    "tr": "ve bir ile için da de çok olan yaşında olarak o onun bu ama gibi kadar yaşıyor çalışıyor seviyor",
    "id": "dan yang di dengan dia adalah untuk ini itu tidak dari sebagai pada tahun bekerja tinggal suka ia",
}
_SETS = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}
_SCRIPTS = {
    "zh": ("CJK",),
    "ja": ("HIRAGANA", "KATAKANA", "CJK"),
    "ko": ("HANGUL",),
    "ru": ("CYRILLIC",),
    "uk": ("CYRILLIC",),
    "bg": ("CYRILLIC",),
    "sr": ("CYRILLIC", "LATIN"),
    "el": ("GREEK",),
    "he": ("HEBREW",),
    "ar": ("ARABIC",),
    "fa": ("ARABIC",),
    "ur": ("ARABIC",),
    "hi": ("DEVANAGARI",),
    "mr": ("DEVANAGARI",),
    "bn": ("BENGALI",),
    "ta": ("TAMIL",),
    "th": ("THAI",),
    "ka": ("GEORGIAN",),
}
_WORD = re.compile(r"\w+")


@lru_cache(maxsize=4096)
def _script(char: str) -> str:
    return unicodedata.name(char, "").split(" ")[0]


def script_matches(text: str, language: str) -> bool:
    """Whether at least half of the letters are in a script of the language (Latin unless listed)."""
    wanted = _SCRIPTS.get(language.split("-")[0].lower(), ("LATIN",))
    letters = [c for c in text if c.isalpha()]
    fitting = sum(1 for c in letters if _script(c) in wanted)
    return 2 * fitting >= len(letters)


def guess_language(text: str) -> str:
    """The code of a Latin-script language whose function words clearly prevail, or ''."""
    words = [w.lower() for w in _WORD.findall(text)]
    if len(words) < 12:
        return ""
    shares = sorted(
        ((sum(w in known for w in words) / len(words), code) for code, known in _SETS.items()), reverse=True
    )
    (best, code), (second, _) = shares[0], shares[1]
    return code if best >= 0.15 and best >= 1.4 * second + 0.02 else ""


def language_name(code: str) -> str:
    """An English name for a prompt; the code itself where we know none."""
    names = {
        "en": "English", "es": "Spanish", "fr": "French", "de": "German", "it": "Italian", "pt": "Portuguese",
        "nl": "Dutch", "pl": "Polish", "sv": "Swedish", "tr": "Turkish", "id": "Indonesian", "zh": "Chinese",
        "ja": "Japanese", "ko": "Korean", "ru": "Russian", "uk": "Ukrainian", "el": "Greek", "he": "Hebrew",
        "ar": "Arabic", "fa": "Persian", "hi": "Hindi", "bn": "Bengali", "ta": "Tamil", "th": "Thai",
    }  # fmt: skip
    return names.get(code.split("-")[0].lower(), code)
