"""What this process may use of a run's limits: all of them, or the part that a shard is given.

Limits are those of the budget (USD, tokens) and of each endpoint (calls in flight, requests and tokens a minute).
"""

from __future__ import annotations

from aloe.config import BudgetConfig, ModelConfig
from aloe.models.budget import Budget
from aloe.models.calls import RoleStats
from aloe.models.http.limits import Host, Limiter
from aloe.models.journal.journal import Journal


class Allowance:
    """An equal part of every limit, for one of ``of`` processes that know nothing of each other."""

    def __init__(self, of: int = 1) -> None:
        self._of = of

    def budget(self, limits: BudgetConfig, journal: Journal) -> Budget:
        """The budget, of which what the journal holds is spent."""
        tokens, usd = journal.spent_by_part(self._of) if limits.usd or limits.tokens else (0, 0.0)
        own = (limits.usd and limits.usd / self._of, limits.tokens and limits.tokens // self._of)
        return Budget(*own, (tokens, usd))

    def limiter(
        self, config: ModelConfig, where: str, patience: float, window: float | None, host: Host | None
    ) -> Limiter:
        """The limits of one endpoint; at least one call may be in flight."""
        requests, tokens = config.requests_per_minute, config.tokens_per_minute
        return Limiter(
            where, self.concurrency(config.max_concurrency), requests and requests / self._of,
            tokens and tokens / self._of, patience, window, host,
        )  # fmt: skip

    def concurrency(self, most: int) -> int:
        """Calls in flight, of ``most`` in all."""
        return max(1, most // self._of)

    def watch(self, stats: dict[str, RoleStats]) -> None:
        """What the calls come to, for whoever wants to show it."""

    def note(self, done: float, total: float | None, unit: str) -> None:
        """How far the work is, for whoever wants to show it."""

    async def flush(self) -> None:
        """All calls are done: wait until whoever keeps the limits has heard what they used."""
