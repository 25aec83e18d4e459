"""The OpenAPI document of the HTTP endpoints: a table per protocol, and what turns them into one.

Requests are described by the message types of `server.protocols`, which also hold what the readers
read by; replies that no type makes have one here. `tests/openapi` compares all of it with what a
running server does.
"""
