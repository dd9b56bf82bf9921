"""Whose turn it is in a call: one pure function from what happens to what is to be done."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """Where a call stands. `interrupted`: the person speaks over an answer, which is held until it is sure that they do."""

    IDLE = "idle"
    USER_SPEAKING = "user_speaking"
    THINKING = "thinking"
    SPEAKING = "speaking"
    INTERRUPTED = "interrupted"


class Happening(StrEnum):
    """What can happen in a call."""

    SPEECH_BEGAN = "speech_began"
    SPEECH_ENDED = "speech_ended"
    WORDS = "words"
    """What the person says is speech: words were heard, or it lasts."""
    NO_WORDS = "no_words"
    """What sounded like speech was none."""
    ASKED = "asked"
    """An answer is asked for."""
    ANSWER_BEGAN = "answer_began"
    """The first of an answer is heard."""
    ANSWER_OVER = "answer_over"
    """An answer was heard to its end, or there is no more of it."""
    STOPPED = "stopped"
    """The client wants no more of the answer."""


class Act(StrEnum):
    """What a happening asks for, in the order given."""

    TELL_USER_STARTED = "tell_user_started"
    TELL_USER_ENDED = "tell_user_ended"
    TELL_ASSISTANT_STARTED = "tell_assistant_started"
    TELL_ASSISTANT_ENDED = "tell_assistant_ended"
    HOLD = "hold"
    """Play no more of the answer, and have what was not played forgotten."""
    RESUME = "resume"
    """Go on with the answer where it was held."""
    STOP_ANSWER = "stop_answer"
    """Have the provider stop, and forget the rest."""


class Turns(msgspec.Struct, frozen=True):
    """The state of a call. `talking`: the person makes sound now. `begun`: an answer was begun to be heard and is not over.

    Where the person may not `interrupt`, an answer goes on while they speak.
    """

    phase: Phase = Phase.IDLE
    talking: bool = False
    begun: bool = False
    interrupt: bool = True

    @property
    def held(self) -> bool:
        """True while no answer may be played."""
        return self.interrupt and self.phase in (Phase.USER_SPEAKING, Phase.INTERRUPTED)


Step = tuple[Turns, list[Act]]


def advance(turns: Turns, happening: Happening) -> Step:
    """The next state, and what is to be done. What makes no sense in a state changes nothing."""
    return _STEPS[happening](turns)


def _speech_began(turns: Turns) -> Step:
    if turns.talking:
        return turns, []
    acts = [Act.TELL_USER_STARTED]
    match turns.phase:
        case Phase.THINKING | Phase.SPEAKING if turns.interrupt:
            return _with(turns, Phase.INTERRUPTED, talking=True), [*acts, Act.HOLD]
        case Phase.IDLE:
            return _with(turns, Phase.USER_SPEAKING, talking=True), acts
        case _:
            return _with(turns, turns.phase, talking=True), acts


def _speech_ended(turns: Turns) -> Step:
    if not turns.talking:
        return turns, []
    phase = Phase.THINKING if turns.phase is Phase.USER_SPEAKING else turns.phase
    return _with(turns, phase, talking=False), [Act.TELL_USER_ENDED]


def _words(turns: Turns) -> Step:
    if turns.phase is not Phase.INTERRUPTED:
        return turns, []
    phase = Phase.USER_SPEAKING if turns.talking else Phase.THINKING
    return _with(turns, phase, begun=False), [Act.STOP_ANSWER, *_ended(turns)]


def _no_words(turns: Turns) -> Step:
    match turns.phase:
        case Phase.INTERRUPTED if not turns.talking:
            return _with(turns, Phase.SPEAKING if turns.begun else Phase.THINKING), [Act.RESUME]
        case Phase.THINKING if not turns.begun:
            return _with(turns, Phase.IDLE), []
        case _:
            return turns, []


def _asked(turns: Turns) -> Step:
    acts = [Act.TELL_USER_ENDED] if turns.talking and turns.phase is Phase.USER_SPEAKING else []
    talking = turns.talking and not acts
    match turns.phase:
        case Phase.SPEAKING:
            acts = [*acts, Act.HOLD, Act.STOP_ANSWER, *_ended(turns)]
        case Phase.INTERRUPTED:
            acts = [*acts, Act.STOP_ANSWER, *_ended(turns)]
        case _:
            pass
    return _with(turns, Phase.THINKING, talking=talking, begun=False), acts


def _answer_began(turns: Turns) -> Step:
    if turns.begun or turns.held:
        return turns, []
    return _with(turns, Phase.SPEAKING, begun=True), [Act.TELL_ASSISTANT_STARTED]


def _answer_over(turns: Turns) -> Step:
    match turns.phase:
        case Phase.SPEAKING | Phase.THINKING:
            phase = Phase.USER_SPEAKING if turns.talking else Phase.IDLE
        case Phase.INTERRUPTED:
            phase = Phase.USER_SPEAKING if turns.talking else Phase.THINKING
            return _with(turns, phase, begun=False), [Act.RESUME, *_pair(turns)]
        case _:
            return turns, []
    return _with(turns, phase, begun=False), _pair(turns)


def _stopped(turns: Turns) -> Step:
    phase = Phase.USER_SPEAKING if turns.talking else Phase.IDLE
    match turns.phase:
        case Phase.SPEAKING:
            return _with(turns, phase, begun=False), [Act.HOLD, Act.STOP_ANSWER, *_ended(turns)]
        case Phase.THINKING:
            return _with(turns, phase, begun=False), [Act.STOP_ANSWER, *_pair(turns)]
        case Phase.INTERRUPTED:
            return _with(turns, phase, begun=False), [Act.STOP_ANSWER, *_ended(turns)]
        case _:
            return turns, []


def _ended(turns: Turns) -> list[Act]:
    return [Act.TELL_ASSISTANT_ENDED] if turns.begun else []


def _pair(turns: Turns) -> list[Act]:
    """The end of an answer, which everybody who waits for one is told, also where nothing of it was heard."""
    return [Act.TELL_ASSISTANT_ENDED] if turns.begun else [Act.TELL_ASSISTANT_STARTED, Act.TELL_ASSISTANT_ENDED]


def _with(turns: Turns, phase: Phase, *, talking: bool | None = None, begun: bool | None = None) -> Turns:
    return Turns(
        phase,
        turns.talking if talking is None else talking,
        turns.begun if begun is None else begun,
        turns.interrupt,
    )


_STEPS = {
    Happening.SPEECH_BEGAN: _speech_began,
    Happening.SPEECH_ENDED: _speech_ended,
    Happening.WORDS: _words,
    Happening.NO_WORDS: _no_words,
    Happening.ASKED: _asked,
    Happening.ANSWER_BEGAN: _answer_began,
    Happening.ANSWER_OVER: _answer_over,
    Happening.STOPPED: _stopped,
}
