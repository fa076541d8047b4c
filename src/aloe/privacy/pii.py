"""Removes personal data from chat logs before any model sees them: names, contacts, addresses, numbers.

Detection and replacement are Presidio's (extra ``pii``): its recognisers of e-mail and IP addresses, URLs, telephone,
card and account numbers, a spaCy model's named entities where one is installed, our own patterns (``patterns``).
Without a spaCy model names are found by the patterns alone; ``Scrubber.note`` says which of the two is in use.
A name that was found once is removed from all texts of the same person. Nothing here needs a network.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from aloe.errors import ConfigError
from aloe.privacy import patterns

PLACEHOLDERS = {
    "PERSON": "[name]",
    "EMAIL_ADDRESS": "[email]",
    "PHONE_NUMBER": "[phone]",
    "ADDRESS": "[address]",
    "URL": "[link]",
    "CREDIT_CARD": "[number]",
    "IBAN_CODE": "[number]",
    "IP_ADDRESS": "[number]",
    "NUMBER": "[number]",
    "USER_ID": "[user]",
}
MAX_MESSAGE = 4_000  # characters of one message that are read; the rest is left out, never passed on unread
_THRESHOLD = 0.35
_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "PL", "NL", "SE", "PT", "BR", "IN", "IL", "MX", "AU", "ZA", "JP", "CN")
_CASE_SENSITIVE = re.MULTILINE


class Scrubber:
    """Removes personal data. Open with :func:`open_scrubber`.

    Attributes:
        note: one sentence on how names are found.
        has_model: whether a spaCy model helps.
    """

    def __init__(self, analyzer: Any, anonymizer: Any, operators: dict[str, Any], model: str | None) -> None:
        self._analyzer = analyzer
        self._anonymizer = anonymizer
        self._operators = operators
        self.has_model = model is not None
        self.note = (
            f"names are found by the spaCy model {model} and by patterns"
            if model
            else "no spaCy model is installed: names are found by patterns and a list of given names only, so some "
            "will be missed; install one (python -m spacy download en_core_web_lg) for better recall"
        )

    def scrub(self, texts: Sequence[str], user_id: str = "") -> tuple[list[str], Counter[str]]:
        """The texts of ONE person without personal data, and how many things of each kind were removed.

        Args:
            user_id: also removed wherever it stands.
        """
        removed: Counter[str] = Counter()
        names: set[str] = set()
        cleaned = []
        for text in texts:
            text = tidy_message(text)
            found = self._find(text)
            for result in found:
                removed[PLACEHOLDERS.get(result.entity_type, "[number]").strip("[]")] += 1
                if result.entity_type == "PERSON":
                    names.update(_parts(text[result.start : result.end]))
            cleaned.append(self._anonymizer.anonymize(text, found, operators=self._operators).text if found else text)
        return [_remove_known(text, names, user_id, removed) for text in cleaned], removed

    def count(self, text: str) -> Counter[str]:
        """What is left of personal data in a text, by kind."""
        return Counter(PLACEHOLDERS.get(r.entity_type, "[number]").strip("[]") for r in self._find(tidy_message(text)))

    def _find(self, text: str) -> list[Any]:
        if not text:
            return []
        wanted = [kind for kind in PLACEHOLDERS if kind != "USER_ID"]
        found = self._analyzer.analyze(text, language="en", entities=wanted, score_threshold=_THRESHOLD)
        return [r for r in found if not any(_contains(o, r) for o in found if o is not r)]


def open_scrubber(nlp: Any = None) -> Scrubber:
    """A scrubber with the best spaCy model that is installed, or without one.

    Args:
        nlp: a loaded spaCy pipeline to use instead; nothing is ever downloaded.

    Raises:
        ConfigError: the extra ``pii`` is not installed.
    """
    missing = [name for name in ("presidio_analyzer", "presidio_anonymizer", "spacy") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"removing personal data needs {', '.join(missing)}",
            "pip install 'aloe-align[pii]'; without it chats are not read",
        )
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
    from presidio_anonymizer import AnonymizerEngine
    from presidio_anonymizer.entities import OperatorConfig

    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)  # it logs the texts of what it can't map
    model = "given" if nlp is not None else _installed_model(spacy.util.get_installed_models())
    if nlp is None:
        nlp = spacy.load(model) if model else spacy.blank("en")
    name = str(nlp.meta.get("name", model)) if model else None
    quiet = NerModelConfiguration(
        labels_to_ignore=["O"], model_to_presidio_entity_mapping={"PERSON": "PERSON", "PER": "PERSON"}
    )
    engine = SpacyNlpEngine(ner_model_configuration=quiet)
    engine.nlp = {"en": nlp}  # set, not loaded: loading would download
    registry = RecognizerRegistry(recognizers=_recognizers(bool(model)), supported_languages=["en"])
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
    operators = {kind: OperatorConfig("replace", {"new_value": word}) for kind, word in PLACEHOLDERS.items()}
    return Scrubber(analyzer, AnonymizerEngine(), operators, name)


def _installed_model(names: Sequence[str]) -> str | None:
    """The largest model among those installed, English ones first."""
    sizes = ("_trf", "_lg", "_md", "_sm")
    known = [n for n in names if n.endswith(sizes)]
    return min(known, key=lambda n: (not n.startswith("en_"), sizes.index(n[n.rfind("_") :]), n), default=None)


def _recognizers(with_model: bool) -> list[Any]:
    from presidio_analyzer import Pattern, PatternRecognizer
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        EmailRecognizer,
        IbanRecognizer,
        IpRecognizer,
        PhoneRecognizer,
        SpacyRecognizer,
        UrlRecognizer,
    )

    def own(kind: str, patterns: list[tuple[str, str]]) -> Any:
        listed = [Pattern(name, regex, 0.8) for name, regex in patterns]
        label = f"aloe {kind.lower()}"
        return PatternRecognizer(kind, name=label, patterns=listed, global_regex_flags=_CASE_SENSITIVE)

    found = [
        CreditCardRecognizer(),
        IbanRecognizer(),
        IpRecognizer(),
        PhoneRecognizer(supported_regions=_REGIONS),
        # The library's patterns without its check against the list of public suffixes, which it would download.
        PatternRecognizer("EMAIL_ADDRESS", name="e-mail", patterns=EmailRecognizer.PATTERNS),
        PatternRecognizer("URL", name="link", patterns=UrlRecognizer.PATTERNS),
        own("EMAIL_ADDRESS", patterns.email_patterns()),
        own("PHONE_NUMBER", patterns.phone_patterns()),
        own("NUMBER", patterns.number_patterns()),
        own("ADDRESS", patterns.address_patterns()),
        own("PERSON", patterns.name_patterns()),
    ]
    return [*found, SpacyRecognizer(supported_entities=["PERSON"])] if with_model else found


def tidy_message(text: str) -> str:
    """At most ``MAX_MESSAGE`` characters, compatibility forms composed, nothing invisible to hide behind."""
    text = unicodedata.normalize("NFKC", text[:MAX_MESSAGE].encode("utf-8", "replace").decode("utf-8"))
    kept = (c if c in "\n\t" else " " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    return "".join(c for c in kept if unicodedata.category(c) != "Cf" or c in "\u200c\u200d")


def _contains(outer: Any, inner: Any) -> bool:
    """Whether a finding is part of a longer one, and so no second thing to remove."""
    inside = outer.start <= inner.start and inner.end <= outer.end
    return bool(inside and outer.end - outer.start > inner.end - inner.start)


def _parts(name: str) -> set[str]:
    """The words of a name that can stand for it alone."""
    return {w for w in re.findall(r"[^\W\d_][\w'’\-]+", name) if w[0].isupper() and len(w) > 2}


def _remove_known(text: str, names: set[str], user_id: str, removed: Counter[str]) -> str:
    """Names of this person's texts wherever they stand once more, and the user's own id."""
    for name in sorted(names, key=lambda n: (-len(n), n)):
        pattern = rf"(?<![\w\[])(?:{re.escape(name)}|{re.escape(name.upper())})(?![\w\]])"
        text, n = re.subn(pattern, PLACEHOLDERS["PERSON"], text)
        removed["name"] += n
    if len(user_id) >= 3:
        text, n = re.subn(rf"(?<!\w){re.escape(user_id)}(?!\w)", PLACEHOLDERS["USER_ID"], text, flags=re.IGNORECASE)
        removed["user"] += n
    return text
