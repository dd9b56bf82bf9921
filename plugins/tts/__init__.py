"""Text to speech: any vendor's voices, or those of this machine, over the WebSocket, HTTP and OpenAI's API."""
