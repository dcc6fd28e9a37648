"""What an observer is told of a method's rounds."""

from collections.abc import Mapping

import numpy as np

from fedsim.account import Account
from fedsim.clock.trips import OUTCOMES, Outcome, Trips
from fedsim.engine.base import Engine
from fedsim.observe.observer import Observer, RoundReport, RoundStart
from fedsim.rounds import Cohort, State, Turn


class Teller:
    """Tells of rounds that begin and end, and what each has added to the account."""

    def __init__(self, observer: Observer, method: str, rounds: int, engine: Engine | None, account: Account) -> None:
        """`rounds`: of all phases; `engine`: None where rounds are only priced."""
        self._observer, self._method, self._rounds = observer, method, rounds
        self._engine, self._account = engine, account
        self._told = account.totals

    def begin(self, turn: Turn, cohort: Cohort) -> None:
        """A cohort sets out."""
        self._observer.begin(
            RoundStart(
                method=self._method,
                phase=turn.phase.name,
                stage=turn.stage.label,
                round=turn.round,
                rounds=self._rounds,
                cohort=len(cohort),
                phase_first=turn.phase.first_round,
                phase_rounds=turn.phase.config.rounds,
            )
        )

    def end(
        self,
        turn: Turn,
        cohort: Cohort,
        trips: Trips,
        state: State,
        loss: float | None,
        quality: Mapping[str, float],
        seconds: float,
        busy_s: float,
    ) -> None:
        """The round is committed.

        Args:
            turn: where it stands.
            cohort: who took part.
            trips: how that went.
            state: after the round.
            loss: mean over the clients that trained.
            quality: as it is now, where it was tested; otherwise nothing.
            seconds: real ones that the round took.
            busy_s: of these, what all hosts have worked, added up.
        """
        totals, outcomes = self._account.totals, _counts(cohort, trips)
        self._observer.round(
            RoundReport(
                method=self._method,
                phase=turn.phase.name,
                stage=turn.stage.label,
                round=state.round,
                rounds=self._rounds,
                cohort=len(cohort),
                completed=sum(n for (_, outcome), n in outcomes.items() if outcome == Outcome.completed.value),
                simulated_s=state.now_s,
                upload_bytes=totals.upload_bytes,
                download_bytes=totals.download_bytes,
                loss=loss,
                quality=dict(quality),
                stage_index=turn.stage_index,
                totals=totals,
                spent=totals - self._told,
                outcomes=outcomes,
                round_s=trips.closed_s - trips.opened_s,
                seconds=seconds,
                hosts=0 if self._engine is None else self._engine.hosts,
                busy_s=busy_s,
                published_bytes=0 if self._engine is None else self._engine.published_bytes,
            )
        )
        self._told = totals


def _counts(cohort: Cohort, trips: Trips) -> dict[tuple[str, str], int]:
    """How many trips had which outcome on which class of device."""
    codes, counts = np.unique(cohort.devices.device * len(OUTCOMES) + trips.outcome, return_counts=True)
    pairs = (divmod(code, len(OUTCOMES)) for code in codes.tolist())
    names = ((cohort.devices.devices[device], OUTCOMES[outcome].value) for device, outcome in pairs)
    return dict(zip(names, counts.tolist(), strict=True))
