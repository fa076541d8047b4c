"""Patterns of personal data in several languages, for use without a named-entity model.

Names are found by what stands around them (introductions, salutations, signatures, titles, relations) and by a short
list of common given names; addresses by street words, numbers and postcodes. Recall comes before
precision: a word removed by mistake costs a persona a detail, a missed name exposes a person.
Patterns are for the ``regex`` module (``\\K`` keeps the cue out of the match) and are case-sensitive but for ``(?i:)``.
"""

# ruff: noqa: E501 - a pattern that is broken over lines can no longer be read
from __future__ import annotations

from functools import lru_cache
from importlib import resources

_STOP_WORDS = (
    "I I'm I'd I'll I've A An The This That These Those It Its It's He She We You They My Your His Her Our Their Who What "
    "When Where Why How Which Whoever Everyone Everybody Someone Somebody Nobody Anyone Anybody No Not Yes Yeah Ok Okay OK So "
    "And But Or If Then There Here Now Today Tomorrow Yesterday Again All Any Both Also Just Very Too Is Are Was Were Do Does "
    "Did Can Could Should Would Will May Might Must Have Has Had Please Sorry Thanks Thank Hello Hi Hey Dear Sir Madam Team "
    "Guys Folks Friend Friends Assistant Chat Bot Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February "
    "March April June July August September October November December Christmas Easter Ramadan Mom Mum Mommy Mummy Dad Daddy "
    "Mother Father Grandma Grandpa Granny Nana Papa Mama God Lord English German Dutch French Spanish Italian Polish "
    "Portuguese Swedish Danish Norwegian Finnish Irish Scottish Welsh British American Canadian Mexican Brazilian Indian "
    "Chinese Japanese Korean Russian Ukrainian Turkish Greek Arab Arabic Egyptian Nigerian Kenyan Australian European Asian "
    "African Catholic Muslim Jewish Hindu Buddhist Vegan Vegetarian Google Excel Python Java Linux Windows Android "
    "For With From To In On At By Of As Let Lets Let's After Before While Because Since Until Even Ever Never Always Maybe "
    "Perhaps Well Oh Ah Wow Good Great Best Kind Many Much More Most Some Every Each Other Another New Old One Two Three"
)
_STOP = "|".join(sorted(set(_STOP_WORDS.split())))
_WORD = r"[\p{L}\p{M}][\p{L}\p{M}'’\-]*"
_CAPITAL = rf"(?!(?:{_STOP})(?![\p{{L}}'’]))\p{{Lu}}[\p{{L}}\p{{M}}'’\-]+"
_PARTICLE = r"(?:van|von|de|der|den|da|dos|del|della|di|du|la|le|al|bin|ibn|el|ten|ter|zu|y)"
FULL = rf"{_CAPITAL}(?:[ \t]+(?:{_PARTICLE}[ \t]+){{0,3}}(?:\p{{Lu}}\.[ \t]+)?{_CAPITAL}){{0,3}}"
_SEVERAL = rf"{FULL}(?:(?:,|,?[ \t]+(?:and|und|et|y|e|i|&))[ \t]+{FULL}){{0,5}}"
_TWO = rf"{_CAPITAL}(?:[ \t]+(?:{_PARTICLE}[ \t]+){{0,3}}{_CAPITAL}){{1,3}}"
_ANY = rf"{_WORD}(?:[ \t]+(?:{_PARTICLE}[ \t]+){{0,2}}{_CAPITAL}){{0,3}}"

_INTRODUCED = (
    r"my (?:full |first |last |real |middle |given |maiden )?(?:name|surname|nickname)(?: is|'s|’s|:)|(?:please )?call me|"
    r"i(?:'m| am|’m) (?:called|named)|i go by|people call me|everyone calls me|"
    r"(?:full |first |last |sur|user|customer |patient )?name ?[:=]|signed,?|ich hei(?:ß|ss)e|mein name ist|je m['’]appelle|"
    r"mon nom est|me llamo|mi nombre es|mi chiamo|il mio nome è|(?:o )?meu nome é|(?:eu )?me chamo|chamo-me|ik heet|"
    r"mijn naam is|mam na imię|nazywam się|jag heter|jeg hedder|jeg heter|minun nimeni on|benim adım|adım|меня зовут"
)
_TITLES = (
    r"mr|mrs|ms|mx|miss|mister|dr|prof|professor|doctor|sir|dame|lord|lady|frau|herr|señora?|sra?|mme|mlle|monsieur|madame|"
    r"signora?|dom|doña|pani?|uncle|aunt|auntie|nurse|pastor|rabbi|imam|father|sister|brother|coach|captain|sergeant|judge"
)
_RELATIONS = (
    r"wife|husband|spouse|partner|fianc[eé]e?|girlfriend|boyfriend|ex|son|daughter|child|kids?|children|sons|daughters|twins?|"
    r"baby|toddler|mother|father|mom|mum|dad|parents|sister|brother|sisters|brothers|siblings|uncle|aunt|cousin|nephew|niece|"
    r"grandma|grandmother|grandpa|grandfather|grandson|granddaughter|grandchildren|friend|friends|buddy|mate|neighbou?rs?|"
    r"roommate|flatmate|colleague|co-?worker|boss|manager|supervisor|teacher|tutor|mentor|therapist|doctor|gp|dentist|lawyer|"
    r"landlord|landlady|nanny|client|patient|student|godson|goddaughter|stepson|stepdaughter|stepfather|stepmother|in-law|"
    r"frau|mann|sohn|tochter|freundin?|femme|mari|fils|fille|ami|amie|hijo|hija|esposo|esposa|amigo|amiga|named|called"
)
_TOLD = r"told|asked|married|dating|texted|phoned|emailed|kissed|divorced|visited|ring|rang|tell|ask"
_MET = r"met|with|by|marry|call|called|saw|see|helped|contact|knew|know|from|and|for"
_BEFORE_PLACES = r"(?:in|to|from|on|of|at|near|around|this|next|last|the|since|until|till|by|early|late|mid|every)"
_SAYS = r"says|said|told|thinks|asked|is my|was my|and I\b|and me\b|wants me|keeps|texted|called me|always|never|left me|works with me"
_BYE = (
    r"(?:kind|best|warm|many)? ?(?:regards|wishes|greetings)|best|cheers|thanks(?: again| a lot| so much)?|thank you|"
    r"many thanks|sincerely|yours(?: truly| sincerely| faithfully)?|love|xoxo|xx|take care|br|mfg|lg|(?:viele )?grü(?:ß|ss)e|"
    r"cordialement|saludos|un saludo|saluti|abraços|groetjes|pozdrawiam"
)


@lru_cache(maxsize=1)
def given_names() -> tuple[frozenset[str], frozenset[str]]:
    """Common given names (folded), and those that are words too (``grace``, ``mark``)."""
    text = resources.files("aloe.privacy").joinpath("given_names.txt").read_text("utf-8")
    plain: set[str] = set()
    words: set[str] = set()
    for line in text.splitlines():
        (words if line.startswith("?") else plain).update(line.removeprefix("?").split())
    return frozenset(plain), frozenset(words)


def name_patterns() -> list[tuple[str, str]]:
    """(what it looks for, pattern) of personal names."""
    plain, words = given_names()
    surname = rf"(?:[ \t]+(?:{_PARTICLE}[ \t]+){{0,3}}{_CAPITAL}){{0,3}}"
    plainly = "|".join(sorted(plain, key=len, reverse=True))
    doubtful = "|".join(sorted((w.capitalize() for w in words), key=len, reverse=True))
    return [
        ("introduction", rf"(?i:\b(?:{_INTRODUCED}))[ \t]+\K{_ANY}"),
        ("I am", rf"\b(?i:i am|i'm|i’m|im|this is|it's|it’s|ich bin|je suis|soy|sono)[ \t]+\K{FULL}(?=[ \t]*(?:[,.!;)\n]|$|\band\b|\bfrom\b|\bhere\b))"),
        ("title", rf"\b(?i:{_TITLES})\.?[ \t]+\K{FULL}"),
        ("relation", rf"\b(?i:{_RELATIONS})(?:,?[ \t]+|[ \t]*[:(][ \t]*|[ \t]+(?i:is|are)[ \t]+(?i:called|named)[ \t]+)\K{_SEVERAL}"),
        ("told", rf"\b(?i:{_TOLD})[ \t]+\K{_SEVERAL}"),
        ("met", rf"\b(?i:{_MET})[ \t]+\K{_TWO}"),
        ("says", rf"\b{FULL}(?=[ \t]+(?:{_SAYS}))"),
        ("salutation", rf"(?:^|[.!?\n][ \t]*)(?i:hi|hello|hey|dear|good (?:morning|evening|afternoon)|thanks|thank you|cheers|hallo|hola|bonjour|ciao|liebe[rs]?)[ \t,]+\K{FULL}"),
        ("signature", rf"(?i:\b(?:{_BYE}))[ \t]*[,.!]*[ \t]*\n+[ \t\-–—~]*\K{_WORD}(?:[ \t]+{_WORD}){{0,2}}(?=[ \t]*(?:\n|$))"),
        ("signature in line", rf"(?i:\b(?:{_BYE}))[ \t]*[,!.][ \t]*[\-–—~]*[ \t]*\K{FULL}(?=[ \t.!]*(?:\n|$))"),
        ("dash", rf"(?:^|\n|[.!?])[ \t]*[\-–—~]{{1,2}}[ \t]*\K{FULL}(?=[ \t]*(?:\n|$))"),
        ("given name", rf"(?<![\p{{L}}\p{{N}}])(?i:{plainly})(?![\p{{L}}\p{{N}}]|['’]t\b){surname}"),
        ("given name that is a word", rf"(?<![\p{{L}}\p{{N}}])(?:{doubtful})[ \t]+{_CAPITAL}(?:[ \t]+{_CAPITAL})?"),
        ("given name that is a word, inside", rf"(?<=[\p{{Ll}},][ \t])(?<!\b{_BEFORE_PLACES}[ \t])(?:{doubtful})(?![\p{{L}}\p{{N}}])"),
        ("handle", r"(?<![\w@./])@\w[\w.]{2,30}"),
    ]  # fmt: skip


_STREET = r"street|avenue|road|lane|boulevard|drive|court|square|terrace|crescent|highway|parkway|gardens|grove|mews|alley|quay"
_SHORT = r"st|ave|rd|ln|blvd|dr|ct|sq|hwy|pkwy|place|pl|way|close|row|hill|circle|cir|walk|park|green"
_FLAT = r"(?:,?[ \t]*(?i:apt|apartment|flat|unit|suite|#)\.?[ \t]*\d*[A-Za-z]?\b)?"
_TOWN = r"(?:,?[ \t]+\p{Lu}[\p{L}'’\-]+(?:[ \t]\p{Lu}[\p{L}'’\-]+)?,?(?:[ \t]+[A-Z]{2}\b)?[ \t]+(?:\d{4,6}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]?[ \t]?\d[A-Z]{2})\b)?"
_ROADS = r"rue|avenue|boulevard|bd|chemin|impasse|quai|all[ée]e|calle|avenida|av\.|plaza|paseo|carrer|via|viale|piazza|corso|rua|travessa|ulica|ulicy|ul\.|aleja|al\.|os\.|jalan|jl\."
_BUILT = (
    r"(?:straße|strasse|str\.|weg|platz|gasse|allee|gatan|vägen|gade|vej|veien|gata|straat|laan|plein|gracht|utca|katu)"
)


def address_patterns() -> list[tuple[str, str]]:
    """(what it looks for, pattern) of postal addresses; towns alone are not an address."""
    number = r"(?<![\w.,])\d{1,5}[A-Za-z]?(?:[/\-]\d{1,4}[A-Za-z]?)?"
    return [
        ("number and street", rf"{number},?[ \t]+(?:(?:\p{{Lu}}|\d)[\p{{L}}\d.'’\-]*[ \t]+){{1,4}}(?i:{_STREET}|{_SHORT})\b\.?{_FLAT}{_TOWN}"),
        ("number and street in small letters", rf"{number},?[ \t]+(?!miles|km|blocks|minutes|hours|houses|people)(?:[\p{{L}}'’]+[ \t]+){{1,2}}(?:{_STREET})\b{_FLAT}"),
        ("street and number, one word", rf"\b\p{{L}}[\p{{L}}\-]*(?i:{_BUILT})[ \t]+\d{{1,4}}[ \t]?[A-Za-z]?\b(?:,?[ \t]+\d{{4,5}}[ \t]+\p{{Lu}}\p{{L}}+)?"),
        ("street and number, two words", r"\b\p{Lu}\p{L}+(?:[ \t\-]\p{Lu}\p{L}+){0,4}[ \t\-](?i:straße|strasse|str\.|weg|platz|allee|street|road|avenue)[ \t]+\d{1,4}[A-Za-z]?\b(?:,?[ \t]+\d{4,5}[ \t]+\p{Lu}\p{L}+)?"),
        ("road, name and number", rf"\b(?i:{_ROADS})[ \t]+(?:[\p{{L}}'’.\-]+[ \t]+){{0,4}}[\p{{L}}'’.\-]+,?[ \t]*(?:n[°º.]?[ \t]*)?\d{{1,4}}(?:[/\-]\d+)?[A-Za-z]?\b"),
        ("number, road and name", rf"{number},?[ \t]+(?:bis[ \t]+|ter[ \t]+)?(?i:rue|avenue|boulevard|bd|place|chemin|impasse|quai|all[ée]e)[ \t]+(?:(?:de|du|des|la|le|les|l['’]|d['’])[ \t]*){{0,3}}\p{{Lu}}[\p{{L}}'’\-]+(?:[ \t]+\p{{Lu}}[\p{{L}}'’\-]+)*(?:,?[ \t]+\d{{5}}[ \t]+\p{{Lu}}[\p{{L}}\-]+)?"),
        ("British or Canadian postcode", r"\b(?:[A-Z]{1,2}\d[A-Z\d]?[ ]?\d[A-Z]{2}|[A-Z]\d[A-Z][ ]?\d[A-Z]\d)\b"),
        ("state and code", r"(?:\p{Lu}\p{L}+,?[ ]+)?\b[A-Z]{2}[ ]\d{5}(?:-\d{4})?\b"),
        ("postcode named", r"(?i:\b(?:zip(?: code)?|post ?code|postal code|plz|code postal|cap|kod pocztowy))[ \t]*(?:is|:|=|ist|est)?[ \t]*\K(?=[\w ]*\d)[A-Z0-9]{2,5}[ \-]?[A-Z0-9]{0,4}\b"),
        ("code and town", r"(?<![\w.,])(?:\d{5}|\d{2}-\d{3}|\d{4}[ ]?[A-Z]{2})[ ,]+\p{Lu}\p{L}{2,}(?:[ \-]\p{Lu}\p{L}+)?"),
        ("box", r"(?i:\bp\.?[ ]?o\.?[ ]?box|postfach|apartado)[ ]*\d+"),
        ("flat", r"(?i:\b(?:apt|apartment|flat|appartement|wohnung)\.?[ ]*(?:no\.?[ ]*)?#?)[ ]*\d{1,4}[A-Za-z]?\b(?![ ]*(?:m|sq|rooms?|bed))"),
    ]  # fmt: skip


def phone_patterns() -> list[tuple[str, str]]:
    """(what it looks for, pattern) of telephone numbers that the library's own reader would not take for one."""
    return [
        ("international", r"(?<![\w.])(?:\+|00)\d(?:[ \t().\-/]{0,2}\d){6,14}(?!\w)"),
        ("trunk zero", r"(?<![\w.,€$£])\(?0\d{1,4}\)?(?:[ \t\-./]{1,2}\d{2,8}){1,5}(?!\w)|(?<![\w.,])0\d{8,11}(?!\w)"),
        ("local", r"(?<![\w.,\-])(?:\(\d{3}\)[ ]?|\d{3}[\-. ])?\d{3}[\-.]\d{4}(?![\w\-])"),
        ("groups", r"(?<![\w.,])\d{3}[ \-.]\d{3}[ \-.]\d{3,4}(?!\w)"),
        ("named", r"(?i:\b(?:phone|mobile|cell|tel\.?|telephone|whatsapp|signal|handynummer|teléfono|portable)\b)(?:[^\d\n]{0,25})\K\+?\d(?:[ \t().\-/]?\d){5,14}"),
    ]  # fmt: skip


def number_patterns() -> list[tuple[str, str]]:
    """(what it looks for, pattern) of account, card and identity numbers, valid or mistyped."""
    return [
        ("account", r"\b[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]{4}){2,7}(?:[ \-]?[A-Z0-9]{1,4})?\b"),
        ("card", r"(?<![\d.,])\d{4}(?:[ \-]?\d{4}){2,3}(?:[ \-]?\d{1,3})?(?!\d)"),
        ("social security", r"(?<![\d\-])\d{3}-\d{2}-\d{4}(?![\d\-])"),
        ("long number", r"(?<![\d.,])\d{7,}(?!\d)"),
        ("passport", r"(?i:\b(?:passport|id card|driving licen[cs]e|licen[cs]e|insurance|policy|account|customer|tax)(?: (?:no\.?|number|id|nr\.?))?)[ \t]*(?:is|:|#|=)?[ \t]*\K(?=[A-Z\-]*\d)[A-Z0-9\-]{6,20}\b"),
    ]  # fmt: skip


def email_patterns() -> list[tuple[str, str]]:
    """(what it looks for, pattern) of e-mail addresses written so that machines shall not read them."""
    at, dot = r"(?:@|[\[({ ]+(?i:at)[\])} ]+)", r"(?:\.|[\[({ ]+(?i:dot|punkt|punto|point)[\])} ]+)"
    tld = r"(?i:com|org|net|edu|gov|info|io|me|co|uk|de|fr|es|it|pl|nl|se|no|dk|fi|pt|br|in|ca|au|ch|at|be|eu|ru|jp|cn)"
    return [("spelled out", rf"[\w.+\-]+[ ]?{at}[ ]?[\w\-]+(?:{dot}[ ]?[\w\-]+)?[ ]?{dot}[ ]?{tld}\b")]
