"""Texts for people who are not the operator: without files, addresses of hosts and names of variables."""

import re

_ROOTS = "home|root|etc|var|opt|usr|tmp|srv|mnt|media|run|data|app|work|proc|dev|nix|snap|private|Users|Volumes"
_PLACES = re.compile(
    # A variable; a file (an address of ours, as /v1/models, is none, nor is the path of a public link).
    rf"\$\{{env:[^}}]*\}}|(?<![\w/.])(?:~|/(?:{_ROOTS}))/[\w.@~/-]+"
    r"|(?<![\w/.:\])-])/(?:[\w@~-][\w.@~-]*/){1,32}[\w@~-][\w.@~-]*\.[A-Za-z]\w{0,7}\b"
    r"|\b[A-Za-z]:\\[^\s\"'<>|]+"
    # From the beginning of a word on, so that the time grows with the text and not with its square.
    # A host: by its number, by a name that is no public one, or with its port.
    r"|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?|\[[0-9a-fA-F]*:[0-9a-fA-F:.]*(?:%\w+)?\](?::\d+)?"
    r"|(?<![\w:.])(?:::1|f[cde][0-9a-f]{2}:[0-9a-fA-F:]{1,40})(?!\w|:\w)"
    r"|(?<=://)[\w-]+(?![\w.:-])|\blocalhost\b(?::\d+)?"
    r"|(?<![\w.-])(?:[\w-]{1,63}\.){1,12}(?:local|internal|localdomain|lan|intranet|svc|home\.arpa)\b(?:\.?:\d+)?"
    r"|(?<![\w.-])[\w.-]+:\d{2,5}\b"
)


def without_places(text: str) -> str:
    """The text without files, private hosts, hosts with their ports and names of variables. Public links stay."""
    return _PLACES.sub("…", text)
