"""Warns about unusable answers of a role, and stops a stage if most of them are.

Of no use: what could not be read even when asked again, by kind. Cut off: what ended at the length limit. The model
under test never stops a stage, because what it answers is the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from aloe.errors import DegradedError
from aloe.models.calls import RoleStats
from aloe.prompts.faults import CUT, KINDS, THINKING

LOUD = 0.1  # share of a role's answers above which it is said
MOST = 0.5  # and above which the stage stops
FEWEST = 10  # answers below which a share stops nothing
EARLY = 20  # answers from which a stage stops before its end, where the share can't be chance
MEASURED = ("responder",)


def n_bad(stats: RoleStats) -> int:
    """The number of answers that were unusable or cut off."""
    return stats.n_unparsed + stats.n_cut


def describe(role: str, stats: RoleStats) -> str:
    """What is wrong with a role's answers, by kind, the most frequent first."""
    kinds = dict(stats.unusable)
    kinds[CUT] = kinds.get(CUT, 0) + stats.n_cut
    told = sorted(((n, kind) for kind, n in kinds.items() if n), key=lambda pair: (-pair[0], pair[1]))
    what = ", ".join(f"{n:,} {KINDS.get(kind, kind)}" for n, kind in told)
    return f"{role}: {n_bad(stats):,} of {stats.n_answers:,} answers are unusable or cut off ({what})"


def next_step(stats: RoleStats) -> str:
    """What to do about it."""
    thinks = stats.unusable.get(THINKING, 0) * 2 > n_bad(stats)
    first = (
        "switch its thinking off (extra = {chat_template_kwargs = {enable_thinking = false}}) or raise max_tokens"
        if thinks
        else "raise the role's max_tokens"
        if stats.n_cut + stats.unusable.get(CUT, 0) > n_bad(stats) / 2
        else "see 'aloe prompts test --model URI' and try another model or prompt"
    )
    return f"{first}; --allow-degraded goes on all the same"


class QualityGate:
    """Watches the roles of a stage.

    Args:
        allow: never stop; what is wrong is still said.
    """

    def __init__(self, allow: bool = False) -> None:
        self.allow = allow

    def watch(self, role: str, stats: RoleStats) -> None:
        """To be called after every answer.

        Raises:
            DegradedError: most answers are unusable, more than by chance.
        """
        n = stats.n_answers
        if n >= EARLY and n_bad(stats) - MOST * n > math.sqrt(n):
            self._stop(role, stats)

    def finish(self, roles: Mapping[str, RoleStats]) -> list[str]:
        """A line for each role with a larger share of unusable answers than ``LOUD``.

        Raises:
            DegradedError: more than ``MOST`` of a role's answers are.
        """
        for role, stats in roles.items():
            if stats.n_answers >= FEWEST and n_bad(stats) > MOST * stats.n_answers:
                self._stop(role, stats)
        return [describe(role, stats) for role, stats in roles.items() if n_bad(stats) > LOUD * stats.n_answers]

    def _stop(self, role: str, stats: RoleStats) -> None:
        if not self.allow and role not in MEASURED:
            raise DegradedError(describe(role, stats), next_step(stats))
