"""The operator's `[plugins.realtime]` table."""

from __future__ import annotations

from pydantic import Field

from engine.api import SettingsTable


class RealtimeSettings(SettingsTable):
    """Calls: how long they last, and what a call of this server's own models is made of."""

    chat: str | None = Field(
        None, description="Chat model of calls with the model cascade; absent: [models] default.", examples=["local"]
    )
    transcription: str | None = Field(
        None, description="Transcription model of such calls; absent: [models] transcription.", examples=["local"]
    )
    speech: str | None = Field(None, description="Voice of such calls; absent: [models] speech.", examples=["local"])
    instructions: str = Field(
        "You are talking with somebody. Answer in a few short sentences of plain words, without lists or markup.",
        description="What the chat model of such a call is told before its client's own instructions.",
    )
    local_tokens: int = Field(
        150,
        ge=1,
        description="Most tokens of one answer of the local chat model in a call: long ones are not listened to.",
    )
    interrupt_after: float = Field(
        0.4,
        ge=0,
        description="Seconds of speech over an answer that stop it even before a word was understood; less may be a cough, "
        "after which the answer goes on.",
    )
    grace: float = Field(60.0, gt=0, description="Seconds that a call waits for a client that has gone.")
    idle: float = Field(600.0, gt=0, description="Seconds without any sound or command after which a call ends.")
    backlog: float = Field(
        10.0, gt=0, description="Seconds of audio that may wait for the model; more is refused, to be sent again."
    )
    keep_audio: bool = Field(
        False,
        description="Keep the sound of each turn as WAV files in the object store, where the call is stored at all; the "
        "metadata of a message names its object as `audio`.",
    )
