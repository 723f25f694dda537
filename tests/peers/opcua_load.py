"""An OPC UA server under load for the benchmark: the simulator's load, of another make.

Variables `Load.T000000` … of type Int64 are written at an even rate: write k is due at k/RATE from the start and goes to
tag k mod TAGS, whose counter it raises by one; its source time is the time of the write. The first line on standard
output tells the addresses; on SIGTERM a last one tells how many writes there were, and how many were late.
"""

import argparse
import asyncio
import datetime
import gc
import json
import signal

from asyncua import Server, ua

TICK = 0.001
# What a write has to be late by to be counted as such.
LATE = 0.005


def say(message):
    print(json.dumps(message), flush=True)


class Load:
    """The variables, and the writes to them."""

    def __init__(self, server, tags, rate):
        self.server, self.rate = server, rate
        self.nodes = [None] * tags
        self.written = self.late = 0

    async def add_variables(self, index):
        for tag in range(len(self.nodes)):
            name = f"Load.T{tag:06}"
            self.nodes[tag] = ua.NodeId(name, index)
            await self.server.nodes.objects.add_variable(
                self.nodes[tag], ua.QualifiedName(name, index), ua.Variant(0, ua.VariantType.Int64)
            )

    async def write(self):
        """Makes the next write."""
        counter, tag = divmod(self.written, len(self.nodes))
        moment = datetime.datetime.now(datetime.timezone.utc)
        value = ua.DataValue(
            ua.Variant(counter + 1, ua.VariantType.Int64),
            SourceTimestamp=moment,
            ServerTimestamp=moment,
        )
        await self.server.write_attribute_value(self.nodes[tag], value)
        self.written += 1

    async def run(self, stop):
        """Makes what is due, tick by tick, until it is told to stop. A pause is made up for."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        while not stop.is_set():
            due = int((loop.time() - start) * self.rate)
            while self.written < due and not stop.is_set():
                self.late += loop.time() - start - (self.written + 1) / self.rate > LATE
                await self.write()
                if self.written % 100 == 0:
                    # Even when it lags behind, the server publishes.
                    await asyncio.sleep(0)
            elapsed = loop.time() - start
            await asyncio.sleep(TICK - elapsed % TICK)


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--namespace", default="urn:floorgate:bench:plant")
    parser.add_argument("--tags", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="writes a second over all tags")
    options = parser.parse_args()

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = Server()
    await server.init()
    url = f"opc.tcp://127.0.0.1:{options.port}/"
    server.set_endpoint(url)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    load = Load(server, options.tags, options.rate)
    await load.add_variables(await server.register_namespace(options.namespace))
    # What is there now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    async with server:
        say({"opcua": url, "namespace": options.namespace})
        await load.run(stop)
        # Written before the server ends, which may wait for its clients.
        say({"load": load.written, "late": load.late})


asyncio.run(main())
