"""A response that fails says why, in words."""

from __future__ import annotations

from engine.api import AssistantEnded, ErrorBody
from plugins.openai_api.realtime_answers import Answers
from plugins.openai_api.realtime_log import SessionLog


def test_a_failed_response_comes_with_an_error_that_has_the_words() -> None:
    answers = Answers(SessionLog())
    error = ErrorBody(code="invalid_request", message="Cannot have 2 or more assistant messages", retryable=False)
    list(answers.opened())
    events = list(answers.ended(AssistantEnded(turn=1, status="failed", error=error)))
    assert [event["type"] for event in events] == ["error", "response.done"]
    assert events[0]["error"]["message"] == "Cannot have 2 or more assistant messages"
    assert events[1]["response"]["status_details"]["error"]["code"] == events[0]["error"]["code"]
