"""Speech to text: recordings and live speech, by any vendor or by this machine, over the WebSocket, HTTP and OpenAI's API."""
