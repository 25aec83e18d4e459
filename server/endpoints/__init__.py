"""Starlette endpoints: the only place that touches a client's socket."""
