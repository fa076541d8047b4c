"""Finds the pronouns of a description and rewrites it with others (English).

A personality is written about a "she" and may be paired with a profile about a "they": then its pronouns, and
the verbs that agree with them, follow the profile. Descriptions without a pronoun stay as they are.
"""

from __future__ import annotations

import re
from typing import Literal

Pronoun = Literal["she", "he", "they"]

_FORMS: dict[Pronoun, tuple[str, str, str, str, str]] = {
    # subject, object, possessive before a noun, possessive alone, reflexive
    "she": ("she", "her", "her", "hers", "herself"),
    "he": ("he", "him", "his", "his", "himself"),
    "they": ("they", "them", "their", "theirs", "themselves"),
}
_TOKEN = re.compile(r"\w+(?:['’]\w+)?|\W")
_SUBJECTS: dict[str, Pronoun] = {"she": "she", "he": "he", "they": "they"}
# After an object "her" or before the end of a phrase comes one of these; otherwise "her" is possessive.
_AFTER_OBJECT_TEXT = """
    a about after again against all an and any anything around as at away back because before but by
    down for from how if in into is it like more most much no not nothing of off on or out over so
    something than that the then there to too until up very was what when where whether which while who
    why with without feel think laugh be do go see know say something anyone somebody everybody deeply
    easily less even only just better worse quickly badly either alone angry happy sad nervous uneasy
    uncomfortable restless through under
"""
_AFTER_OBJECT = frozenset(_AFTER_OBJECT_TEXT.split())
_ADVERBS_TEXT = """
    always often never also rarely sometimes seldom usually still then even just only soon so not both
"""
_ADVERBS = frozenset(_ADVERBS_TEXT.split())
_IRREGULAR = {
    "are": "is",
    "have": "has",
    "do": "does",
    "were": "was",
    "don't": "doesn't",
    "don’t": "doesn’t",
    "aren't": "isn't",
    "haven't": "hasn't",
    "go": "goes",
}
_BACK = {v: k for k, v in _IRREGULAR.items()}
_CONTRACTED = {"'s": "'re", "’s": "’re"}
_UNCHANGED_TEXT = """
    can could may might must shall should will would can't cannot won't wouldn't shouldn't couldn't had
    did didn't
"""
_UNCHANGED = frozenset(_UNCHANGED_TEXT.split())
_JOINS = frozenset({"and", "but", "or", "yet"})


def find_pronoun(text: str) -> Pronoun | None:
    """The pronoun a description uses for its person: the first subject pronoun, or None."""
    for token in re.findall(r"\w+", text.lower()):
        if token in _SUBJECTS:
            return _SUBJECTS[token]
    for pronoun, forms in _FORMS.items():
        if re.search(rf"\b(?:{'|'.join(forms)})\b", text, re.IGNORECASE):
            return pronoun
    return None


def set_pronoun(text: str, pronoun: Pronoun) -> str:
    """The description with another pronoun throughout, verbs agreeing."""
    source = find_pronoun(text)
    if source is None or source == pronoun:
        return text
    tokens = _TOKEN.findall(text)
    out: list[str] = []
    verb_due = False  # the next verb belongs to the subject pronoun
    verbs_follow = False  # a verb after "and" in this sentence may still belong to it
    for i, token in enumerate(tokens):
        lower = token.lower()
        new = _replace(tokens, i, source, pronoun)
        if new is not None:
            out.append(_cased(new, token))
            if lower.split("'")[0].split("’")[0] == source:
                verb_due, verbs_follow = "'" not in lower and "’" not in lower, True
            continue
        if token in ".!?;":
            verb_due = verbs_follow = False
        agrees = (source == "they") != (pronoun == "they")
        if agrees and verb_due and lower[0].isalpha():
            if not _is_adverb(lower):
                token, verb_due = _conjugate(token, pronoun), False
        elif agrees and verbs_follow and lower[0].isalpha() and _joins(tokens, i) and _is_verb(lower, source):
            token = _conjugate(token, pronoun)
        out.append(token)
    return "".join(out)


def _replace(tokens: list[str], i: int, source: Pronoun, target: Pronoun) -> str | None:
    lower = tokens[i].lower()
    old, new = _FORMS[source], _FORMS[target]
    for mark, plural in _CONTRACTED.items():
        if source != "they" and lower == old[0] + mark:
            return new[0] + (plural if target == "they" else mark)
        if source == "they" and lower == old[0] + plural:
            return new[0] + mark
    if lower == old[0]:
        return new[0]
    if lower == old[4] or (source == "they" and lower == "themself"):
        return new[4]
    if lower in (old[1], old[2], old[3]):
        return new[_case_of(tokens, i, lower, source)]
    return None


def _case_of(tokens: list[str], i: int, lower: str, source: Pronoun) -> int:
    """1 object, 2 possessive before a noun, 3 possessive alone."""
    following = next((t.lower() for t in tokens[i + 1 :] if not t.isspace()), "")
    before_noun = following[:1].isalpha() and following not in _AFTER_OBJECT
    if source == "she" and lower == "her":
        return 2 if before_noun else 1
    if source == "he" and lower == "his":
        return 2 if before_noun else 3
    return _FORMS[source].index(lower)


def _cased(new: str, old: str) -> str:
    return new[0].upper() + new[1:] if old[0].isupper() else new


def _is_adverb(word: str) -> bool:
    return word in _ADVERBS or (
        word.endswith("ly") and word not in ("rely", "apply", "reply", "fly", "imply", "bully", "rally")
    )


def _joins(tokens: list[str], i: int) -> bool:
    """Whether the word at ``i`` follows "and", "but", "or", "," (adverbs between)."""
    j = i - 1
    while j >= 0 and (tokens[j].isspace() or _is_adverb(tokens[j].lower())):
        j -= 1
    return j >= 0 and (tokens[j].lower() in _JOINS or tokens[j] == ",")


def _is_verb(word: str, source: Pronoun) -> bool:
    """Whether a word after "and" is a verb in the person's form, from a list: nouns in -s are too many to guess."""
    if source == "they":
        return word in _VERBS or word in _IRREGULAR
    return word in _BACK or (_base(word) in _VERBS and word != _base(word))


def _conjugate(token: str, pronoun: Pronoun) -> str:
    lower = token.lower()
    if lower in _UNCHANGED or (pronoun != "they" and lower.endswith("ed") and lower not in _VERBS):
        return token
    if pronoun == "they":
        return _cased(_BACK.get(lower) or _base(lower), token)
    return _cased(_IRREGULAR.get(lower) or _third(lower), token)


def _third(base: str) -> str:
    if re.search(r"(?:s|x|z|ch|sh|o)$", base):
        return base + "es"
    return base[:-1] + "ies" if re.search(r"[^aeiou]y$", base) else base + "s"


def _base(third: str) -> str:
    if not third.endswith("s") or third.endswith("ss"):
        return third
    if third.endswith("ies") and len(third) > 4:
        return third[:-3] + "y"
    if re.search(r"(?:ss|x|zz|ch|sh|o)es$", third):
        return third[:-2]
    return third[:-1]


_VERBS_TEXT = """
    accept act adapt add adjust admire admit adore agree aim analyse analyze announce answer apologise
    apologize appreciate approach argue ask assume avoid balance bear believe bend blame boast bother
    break bring brood build calm care carry change chase chat check cheer cherish choose claim come
    comfort commit compare complain confront consider cope correct count crave criticise criticize cry
    dare daydream decide defend delegate demand deny depend deserve desire despise detest dislike
    dismiss distrust dodge doubt dread dream dwell embrace empathise empathize encourage endure enjoy
    envy exaggerate expect explain express face fear feel fidget fight find finish flatter flirt focus
    follow forget forgive fret fuss gather get give go gossip grow grumble guard handle hate have help
    hesitate hide hold hope hurry hurt ignore imagine improve improvise inspire insist interrupt invite
    joke judge jump keep know lack laugh learn leave lecture lend let lie like listen live look lose
    love make manage measure mind miss mistrust mock motivate move need negotiate notice nurse obey
    offer open overcome overprepare overthink panic persist plan play please pout praise prefer prepare
    pretend prize procrastinate promise protect prove provide pry push put question quote radiate react
    read rebel recover refuse regret rehearse reject relax rely remain remember repeat reply require
    resent resist respect respond rest ring run rush sacrifice say see seek seem sense set share show
    shrug shut sing sit smile solve speak spend spot stand start state stay stick stop strive struggle
    stumble sulk support surprise suspect swear swing take talk tease tell tend test thank think thrive
    throw tire tolerate treat trust try turn understand use value view voice wait want warn waste watch
    wear weigh welcome whisper wish withdraw wonder work worry yearn yield
"""
_VERBS = frozenset(_VERBS_TEXT.split())
