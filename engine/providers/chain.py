"""The engine's resilience around every chat call: deadlines, retries, fallbacks, breakers, metering."""

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from engine.api.chat import ChatDeltas, ChatRequest
from engine.api.errors import EngineError
from engine.api.providers import Provider, Target
from engine.api.streams import Writer
from engine.providers.breaker import Breaker
from engine.providers.call import Call
from engine.providers.checks import unsupported
from engine.providers.course import Course
from engine.providers.metering import Ledger
from engine.providers.policy import ResiliencePolicy
from engine.uses import Uses


class Chain:
    """Implements `engine.api.ChatChain`. Made for one turn: what its calls use adds up for each stream.

    `notices` are told as `status` events when the first call begins, as that a retired model is answered for by its
    successor.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        policy: ResiliencePolicy,
        breakers: Mapping[str, Breaker],
        notices: Sequence[tuple[str, str]] = (),
        uses: Uses[Call, Provider] | None = None,
    ) -> None:
        self.targets = tuple(targets)
        self._policy = policy
        self._breakers = breakers
        self._notices = tuple(notices)
        self._uses: Uses[Call, Provider] = uses if uses is not None else Uses()
        self._ledgers: dict[str, Ledger] = {}

    def check(self, request: ChatRequest) -> None:
        """Raise what makes the first target refuse the request, before anything is called."""
        error = unsupported(self.targets[0], request)
        if error is not None:
            raise error

    async def ask(self, request: ChatRequest, stream: Writer, take: Callable[[ChatDeltas], object]) -> None:
        """Call the first target that serves and hand its deltas to `take`; see `engine.api.ChatChain`.

        Retries and falls back until the first delta of the answer; from then on an error is raised as it is.
        """
        course = Course(self.targets, self._policy, self._breakers, request, stream, self._ledger(stream))
        call = course.first()
        while True:
            raised: BaseException | None = None
            self._uses.begin(call, call.target.provider)
            try:
                return await call.run(take)
            except BaseException as caught:
                raised = caught
                error = call.failure(caught)
                if error is None or call.spoke:
                    _reraise(caught, error)
            finally:
                try:
                    await call.close(raised)
                finally:
                    self._uses.end(call)
            call = await course.after(call, error)

    def _ledger(self, stream: Writer) -> Ledger:
        """What this stream has used; the first call of a stream tells the chain's notices."""
        if stream.id not in self._ledgers:
            self._ledgers[stream.id] = Ledger()
            for stage, detail in self._notices:
                stream.status(stage, detail)
        return self._ledgers[stream.id]


def _reraise(caught: BaseException, error: EngineError | None) -> NoReturn:
    """Raise the error that people are told, without the cause: an SDK's exception may hold headers with the key."""
    if error is None or error is caught:
        raise caught
    raise error from None
