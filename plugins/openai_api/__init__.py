"""OpenAI's API under `/v1`: any client of it reaches every model of this server by changing one address."""
