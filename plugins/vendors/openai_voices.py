"""The voices of OpenAI, which its clients name whatever model they speak with."""

DEFAULT_VOICE = "alloy"

VOICES = (
    "alloy", "ash", "ballad", "coral", "echo", "fable", "marin", "cedar", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip
