"""What tests of plugins are built from: scripted providers, a recording writer, virtual time.

The contract that a chat provider must meet is in `engine.testing.conformance`, that of a voice in `engine.testing.speech`, that
of an object store in `engine.testing.objects`; they need pytest.
"""

from engine.testing.answers import batches_of, deltas_of
from engine.testing.clock import VirtualTimeLoop, virtual_time
from engine.testing.providers import (
    FailingProvider,
    RecordingRealtimeStage,
    RecordingWriter,
    ScriptedProvider,
    SlowProvider,
    answer,
    ask,
)

__all__ = (
    "FailingProvider",
    "RecordingRealtimeStage",
    "RecordingWriter",
    "ScriptedProvider",
    "SlowProvider",
    "VirtualTimeLoop",
    "answer",
    "ask",
    "batches_of",
    "deltas_of",
    "virtual_time",
)
