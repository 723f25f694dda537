"""A Modbus server for tests: four tables a unit, set from outside; delays and exceptions on demand."""

import argparse
import asyncio
import collections
import json
import logging
import ssl

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.pdu.device import ModbusDeviceIdentification
from pymodbus.server import ModbusTcpServer, ModbusTlsServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimData, SimDevice

import line_protocol

# The function code that reads a table names it (Modbus application protocol V1.1b3, clause 6).
READ = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
REGISTERS = 2_000
# Server and frames by what the test calls them. The frames of TLS are those of Modbus TCP, as Modbus TCP Security has them.
SERVERS = {
    "tcp": (ModbusTcpServer, FramerType.SOCKET),
    "tls": (ModbusTlsServer, FramerType.SOCKET),
    "udp": (ModbusUdpServer, FramerType.SOCKET),
    "rtu": (ModbusTcpServer, FramerType.RTU),
    "ascii": (ModbusTcpServer, FramerType.ASCII),
}


class Unit:
    """A device on the link and what is wrong with it.

    `tables` has of a table the first and last addresses of its ranges, of all that are not named the first 2,000; `most` is
    how many registers a request may have, where that is fewer than the protocol allows.
    """

    def __init__(self, unit, most=None, **tables):
        self.number = unit
        self.most = most
        self.tables = tables
        self.delay = 0.0
        self.exceptions = {}
        self.requests = 0

    def device(self):
        def ranges(table, values, datatype):
            known = self.tables.get(table, [[0, REGISTERS - 1]])
            return [SimData(first, count=last - first + 1, values=values, datatype=datatype) for first, last in known]

        bits = [ranges(table, False, DataType.BITS) for table in ("coil", "discrete")]
        registers = [ranges(table, 0, DataType.REGISTERS) for table in ("holding", "input")]
        return SimDevice(self.number, simdata=(*bits, *registers), action=self.asked)

    async def asked(self, function_code, start, address, count, current, values):
        if values is not None:  # It is the test that sets a value.
            return None
        self.requests += 1
        await asyncio.sleep(self.delay)
        if self.most and function_code in (READ["holding"], READ["input"]) and count > self.most:
            return ExcCodes.ILLEGAL_VALUE
        code = self.exceptions.get(function_code)
        return ExcCodes(code) if code else None


class Line:
    """What comes over the line: which functions are asked for, and units of which there is nothing to hear."""

    def __init__(self, framing, units, others_are_silent):
        self.framing = framing
        self.units = {unit.number for unit in units} if others_are_silent else set(range(256))
        self.functions = collections.Counter()

    def trace(self, is_sent, frame):
        if is_sent or not frame:
            return frame
        # Unit and function of a frame; a client sends one at a time.
        if self.framing == "ascii":
            unit, function = bytes.fromhex(frame[1:5].decode())
        elif self.framing == "rtu":
            unit, function = frame[:2]
        else:
            unit, function = frame[6:8]
        self.functions[function] += 1
        return frame if unit in self.units else b""


class Link:
    """The server and its units."""

    def __init__(self, server, units, line):
        self.server = server
        self.units = {unit.number: unit for unit in units}
        self.line = line

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
            "by_unit": {number: unit.requests for number, unit in self.units.items()},
        }

    async def functions(self):
        """How often each function was asked for."""
        return dict(self.line.functions)

    async def drop(self):
        """Closes every connection."""
        for connection in list(self.server.active_connections.values()):
            connection.close()


def secured(options):
    """The server's part of TLS: it has a certificate, and demands one of the same authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate, options.key)
    context.load_verify_locations(options.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return {"sslctx": context}


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--framing", choices=SERVERS, default="tcp")
    parser.add_argument("--certificate", help="with tls: the server's certificate")
    parser.add_argument("--key", help="with tls: its key")
    parser.add_argument("--authority", help="with tls: who signed the certificates of clients")
    parser.add_argument("--device", type=json.loads, action="append", help='arguments of Unit, as {"unit": 1}')
    parser.add_argument("--identity", type=json.loads, help="objects of the device identification, by number")
    parser.add_argument("--set", type=json.loads, action="append", default=[], help="what is set before anybody is served")
    parser.add_argument("--others-are-silent", action="store_true", help="units that are not there do not answer")
    options = parser.parse_args()

    logging.getLogger("pymodbus").setLevel(logging.WARNING)
    units = [Unit(**device) for device in options.device]
    line = Line(options.framing, units, options.others_are_silent)
    identity = {int(number): text for number, text in (options.identity or {}).items()}
    kind, framer = SERVERS[options.framing]
    server = kind(
        [unit.device() for unit in units],
        framer=framer,
        address=(options.host, options.port),
        identity=ModbusDeviceIdentification(info=identity),
        trace_packet=line.trace,
        **(secured(options) if options.framing == "tls" else {}),
    )
    link = Link(server, units, line)
    for values in options.set:
        await link.set(**values)
    await server.serve_forever(background=True)
    await line_protocol.serve(
        {
            "set": link.set,
            "delay": link.delay,
            "exception": link.exception,
            "count": link.count,
            "functions": link.functions,
            "drop": link.drop,
        }
    )
    await server.shutdown()


asyncio.run(main())
