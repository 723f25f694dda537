"""A Modbus server for tests: four tables a unit, set from outside; delays and exceptions on demand."""

import argparse
import asyncio
import logging

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

import line_protocol

# The function code that reads a table names it (Modbus application protocol V1.1b3, clause 6).
READ = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
REGISTERS = 2_000


class Unit:
    """A device on the link and what is wrong with it."""

    def __init__(self, number):
        self.number = number
        self.delay = 0.0
        self.exceptions = {}
        self.requests = 0

    def device(self):
        def bits():
            return [SimData(0, count=REGISTERS, values=False, datatype=DataType.BITS)]

        def registers():
            return [SimData(0, count=REGISTERS, values=0, datatype=DataType.REGISTERS)]

        return SimDevice(self.number, simdata=(bits(), bits(), registers(), registers()), action=self.asked)

    async def asked(self, function_code, start, address, count, current, values):
        if values is not None:  # It is the test that sets a value.
            return None
        self.requests += 1
        await asyncio.sleep(self.delay)
        code = self.exceptions.get(function_code)
        return ExcCodes(code) if code else None


class Link:
    """The server and its units."""

    def __init__(self, server, units):
        self.server = server
        self.units = {unit.number: unit for unit in units}

    async def set(self, table, address, values, unit=1):
        """Sets registers (numbers) or bits (booleans) from `address` on, at one moment."""
        await self.server.async_setValues(unit, READ[table], address, values)

    async def delay(self, seconds, unit=1):
        """Every answer comes so much later."""
        self.units[unit].delay = seconds

    async def exception(self, table, code, unit=1):
        """Every read of the table is answered with an exception code; 0 ends it."""
        self.units[unit].exceptions[READ[table]] = code

    async def count(self):
        """How many connections there are and how many reads there were."""
        return {
            "connections": len(self.server.active_connections),
            "requests": sum(unit.requests for unit in self.units.values()),
        }

    async def drop(self):
        """Closes every connection."""
        for connection in list(self.server.active_connections.values()):
            connection.close()


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--framing", choices=["tcp", "rtu"], default="tcp")
    parser.add_argument("--unit", type=int, action="append", help="default: 1")
    options = parser.parse_args()

    logging.getLogger("pymodbus").setLevel(logging.WARNING)
    units = [Unit(number) for number in options.unit or [1]]
    server = ModbusTcpServer(
        [unit.device() for unit in units],
        framer=FramerType.RTU if options.framing == "rtu" else FramerType.SOCKET,
        address=("127.0.0.1", options.port),
    )
    await server.serve_forever(background=True)
    link = Link(server, units)
    await line_protocol.serve(
        {
            "set": link.set,
            "delay": link.delay,
            "exception": link.exception,
            "count": link.count,
            "drop": link.drop,
        }
    )
    await server.shutdown()


asyncio.run(main())
