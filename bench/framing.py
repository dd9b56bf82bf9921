"""The client's half of HTTP/1.1 and WebSocket as incremental readers: bytes in, whole pieces out."""

import base64
import os

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A


class FramingError(Exception):
    """The server sent bytes that these readers do not take; the text says which."""


def http_request(path: str, body: bytes, key: str) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Authorization: Bearer {key}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ws_upgrade(path: str, key: str) -> bytes:
    lines = (
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Bearer {key}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def client_frame(payload: bytes, first_byte: int = TEXT) -> bytes:
    """One whole frame under mask 0, which RFC 6455 allows and which leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        head = bytes((first_byte, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first_byte, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first_byte, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


class HttpAnswer:
    """One HTTP answer; `status` is 0 until its head is whole, `over` once its last byte was fed."""

    def __init__(self) -> None:
        self.status = 0
        self.over = False
        self._chunked = False
        self._left = 0
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The body bytes that became readable; a chunk of a chunked body only when it is whole."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not self.status:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return b""
            self._read_head(head)
        if self._chunked:
            return self._dechunk(data)
        self._left -= len(data)
        self.over = self._left <= 0
        return data

    def _read_head(self, head: bytes) -> None:
        lines = head.lower().split(b"\r\n")
        headers = dict(line.split(b":", 1) for line in lines[1:])
        self.status = int(lines[0].split(b" ", 2)[1])
        self._chunked = b"chunked" in headers.get(b"transfer-encoding", b"")
        if not self._chunked and b"content-length" not in headers:
            raise FramingError("an answer with neither content-length nor chunked transfer-encoding")
        self._left = int(headers.get(b"content-length", 0))

    def _dechunk(self, data: bytes) -> bytes:
        at, end, parts = 0, len(data), []
        while (line := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:line], 16)
            stop = line + 2 + size
            if stop + 2 > end:
                break
            at = stop + 2
            if not size:
                self.over = True
                break
            parts.append(data[line + 2 : stop])
        self._rest = data[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts)


class WsFrames:
    """The frames of one WebSocket after its handshake."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(first byte, payload) of each frame that became whole; FramingError if one is fragmented or compressed."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        frames: list[tuple[int, bytes]] = []
        while end - at >= 2:
            size, body = data[at + 1], at + 2
            if size == 126:
                size, body = int.from_bytes(data[body : body + 2], "big"), body + 2
            elif size == 127:
                size, body = int.from_bytes(data[body : body + 8], "big"), body + 8
            if body + size > end:
                break
            if data[at] not in (TEXT, CLOSE, PING, PONG):
                raise FramingError(f"a WebSocket frame that begins with {data[at]:#04x}")
            frames.append((data[at], data[body : body + size]))
            at = body + size
        self._rest = data[at:]
        return frames
