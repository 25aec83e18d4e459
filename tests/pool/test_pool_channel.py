"""The front's end of the connection, against a plain socket as the worker."""

import asyncio
import socket

import pytest
from pool_bench import eventually

from server.pool import messages
from server.pool.channel import Channel, PairedSocket

pytestmark = pytest.mark.anyio


class Ends:
    """A channel, the other end of its socket, and what the channel told."""

    def __init__(self):
        self.received = []
        self.lost = []
        ours, self.worker = socket.socketpair()
        ours.setblocking(False)
        self.worker.settimeout(10)
        self.address = PairedSocket(ours)
        self.channel = Channel(self.received.append, self.lost.append)


@pytest.fixture
async def ends():
    ends = Ends()
    await ends.channel.open(ends.address)
    yield ends
    ends.channel.close()
    ends.worker.close()
    await eventually(lambda: ends.lost)


async def test_messages_arrive_in_order(ends):
    sent = [messages.Started(1), messages.Pcm(1, b"\0" * 9600, (), 0.1), messages.Finished(1)]
    ends.worker.sendall(b"".join(messages.encode(message) for message in sent))
    await eventually(lambda: len(ends.received) == 3)
    assert ends.received == sent


async def test_messages_are_sent(ends):
    ends.channel.send(messages.GrantCredit(1, 2))
    await asyncio.sleep(0)
    assert ends.worker.recv(100) == messages.encode(messages.GrantCredit(1, 2))


async def test_the_end_of_the_worker_is_told_once_and_what_came_before_it_too(ends):
    ends.worker.sendall(messages.encode(messages.StartFailed("no weights")))
    ends.worker.close()
    await eventually(lambda: ends.lost)
    ends.channel.send(messages.Ping())
    ends.channel.close()
    assert ends.received == [messages.StartFailed("no weights")]
    assert ends.lost == [""]


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 8, b"\x01\0\0\0\xc1"], ids=["no length", "no message"]
)
async def test_garbage_ends_the_connection(ends, garbage):
    ends.worker.sendall(messages.encode(messages.Pong()) + garbage)
    await eventually(lambda: ends.lost)
    assert ends.received == [messages.Pong()]
    assert ends.lost[0].startswith("protocol error")
