"""The token that the guarded server knows."""

RIGHT_TOKEN = "the-right-token"
