"""An OPC UA server that says what none should: it stands before a real one, and replaces what that one publishes. Without security only."""

import argparse
import asyncio
import itertools
import struct

import line_protocol

# Before the body of a chunk of a message: type, size, channel, token, number, request.
HEADER = 24
PUBLISH_RESPONSE = b"\x01\x00\x3d\x03"
NULL = struct.pack("<i", -1)
# The largest message that a client takes is of 16 MiB.
LARGE = 15 << 20
PART = 60_000


def with_diagnostics(diagnostics):
    """A PublishResponse up to its diagnostics: kind, time, handle, good."""
    return PUBLISH_RESPONSE + bytes(16) + diagnostics


def with_variant(variant):
    """A PublishResponse with one value of the first item."""
    value = struct.pack("<iIB", 1, 1, 1) + variant + NULL
    return (
        with_diagnostics(b"\x00")
        + NULL
        + bytes(3)  # no additional header
        + struct.pack("<I", 1)  # subscription
        + NULL  # available numbers
        + struct.pack("<BIq", 0, 2, 0)  # no more, number, time
        + struct.pack("<i", 1)  # one notification, of changes, in bytes
        + b"\x01\x00\x2b\x03\x01"
        + struct.pack("<i", len(value))
        + value
        + NULL
        + NULL
    )


def text(content):
    return struct.pack("<i", len(content)) + content


BODIES = {
    "deep variants": lambda: with_variant(b"\x98\x01\x00\x00\x00" * (LARGE // 5)),
    "deep data values": lambda: with_variant(b"\x17\x01" * (LARGE // 2)),
    "deep diagnostics": lambda: with_diagnostics(b"\x40" * LARGE),
    "texts that are no UTF-8": lambda: with_variant(
        b"\x8c" + struct.pack("<i", 15) + text(b"\xff" * 1_000_000) * 15
    ),
    "an array of 2,147,483,647": lambda: with_variant(b"\x86\xff\xff\xff\x7f" + bytes(LARGE)),
    "bytes of 2 GiB": lambda: with_variant(b"\x0f\xff\xff\xff\x7f" + bytes(LARGE)),
}
RAW = {
    "a chunk smaller than its header": b"MSGF\x03\x00\x00\x00" + b"\xaa" * 64,
    "a chunk of 4 GiB": b"MSGF\xff\xff\xff\xff" + b"\xaa" * LARGE,
    "an error without its text": b"ERRF" + struct.pack("<IIi", 16, 0x80010000, 1_000),
    "another kind of message": b"XYZF\x48\x00\x00\x00" + b"\xaa" * 64,
}
ENDLESS = "a message without an end"


def chunks(first, parts):
    """Parts of a body, with whether each is the last, as chunks in the place of one."""
    number = struct.unpack_from("<I", first, 16)[0]
    for part, is_last in parts:
        head = b"MSG" + (b"F" if is_last else b"C") + struct.pack("<I", HEADER + len(part))
        yield head + first[8:16] + struct.pack("<I", number) + first[20:HEADER] + part
        number += 1


def parts(body):
    for begin in range(0, len(body), PART):
        yield body[begin : begin + PART], begin + PART >= len(body)


class Rogue:
    def __init__(self, server):
        self.server, self.trick, self.times = server, None, 0

    async def tricks(self):
        """The names of all that it can say."""
        return {"value": [*BODIES, *RAW, ENDLESS]}

    async def play(self, trick):
        """Replaces the next message with values."""
        self.trick = trick

    async def played(self):
        """How often something was replaced."""
        return {"value": self.times}

    async def connected(self, reader, writer):
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server)
        passing = [
            asyncio.create_task(self.pass_on(reader, server_writer)),
            asyncio.create_task(self.answers(server_reader, writer)),
        ]
        # Either end ends both.
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        for end in (writer, server_writer):
            end.transport.abort()

    async def pass_on(self, reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def answers(self, reader, writer):
        while True:
            header = await reader.readexactly(8)
            chunk = header + await reader.readexactly(struct.unpack("<I", header[4:])[0] - 8)
            is_meant = chunk[:3] == b"MSG" and chunk[HEADER : HEADER + 4] == PUBLISH_RESPONSE
            # What is shorter is a keep-alive.
            if self.trick is None or not is_meant or len(chunk) < 120:
                writer.write(chunk)
                await writer.drain()
                continue
            trick, self.trick = self.trick, None
            self.times += 1
            for bytes_ in self.said(trick, chunk):
                writer.write(bytes_)
                await writer.drain()

    def said(self, trick, chunk):
        if trick in RAW:
            yield RAW[trick]
        elif trick in BODIES:
            yield from chunks(chunk, parts(BODIES[trick]()))
        else:
            yield from chunks(chunk, itertools.repeat((bytes(PART), False)))


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", type=int, required=True, help="the port of the real server")
    options = parser.parse_args()
    rogue = Rogue(options.server)
    async with await asyncio.start_server(rogue.connected, "127.0.0.1", options.port):
        await line_protocol.serve({"tricks": rogue.tricks, "play": rogue.play, "played": rogue.played})


asyncio.run(main())
