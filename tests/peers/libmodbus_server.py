"""A libmodbus server for tests, over TCP or RTU on a serial line: one unit, whose tables are set from outside.

libmodbus is the C library that many devices are made with. It serves one connection at a time.
"""

import argparse
import asyncio
import ctypes
import os
import pathlib
import threading

import line_protocol

COUNT = 2_000
LONGEST = 260


class Mapping(ctypes.Structure):
    """`modbus_mapping_t` of libmodbus 3.1."""

    _fields_ = [
        *[(f"{kind}_{table}", ctypes.c_int) for table in ("coil", "discrete", "input", "holding") for kind in ("count", "start")],
        ("coil", ctypes.POINTER(ctypes.c_uint8)),
        ("discrete", ctypes.POINTER(ctypes.c_uint8)),
        ("input", ctypes.POINTER(ctypes.c_uint16)),
        ("holding", ctypes.POINTER(ctypes.c_uint16)),
    ]


def load(folder):
    """The library of the system, or the one that `tests/setup` fetched."""
    found = [str(path) for path in sorted(folder.glob("**/libmodbus.so.5"))]
    for name in ["libmodbus.so.5", *found]:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.modbus_new_tcp.restype = ctypes.c_void_p
        library.modbus_new_rtu.restype = ctypes.c_void_p
        library.modbus_mapping_new.restype = ctypes.POINTER(Mapping)
        return library
    raise SystemExit("libmodbus.so.5 is missing: run `make setup`")


class Server:
    def __init__(self, library, options):
        self.library = library
        self.mapping = library.modbus_mapping_new(COUNT, COUNT, COUNT, COUNT)
        self.requests = 0
        if options.terminal:
            name = os.fsencode(options.terminal)
            self.context = ctypes.c_void_p(library.modbus_new_rtu(name, 19_200, ctypes.c_char(b"E"), 8, 1))
            self.check(library.modbus_set_slave(self.context, options.unit))
            self.check(library.modbus_connect(self.context))
            self.socket = None
        else:
            self.context = ctypes.c_void_p(library.modbus_new_tcp(b"127.0.0.1", options.port))
            self.socket = ctypes.c_int(library.modbus_tcp_listen(self.context, 1))
            self.check(self.socket.value)

    @staticmethod
    def check(result):
        if result == -1:
            raise SystemExit("libmodbus cannot open what it serves")

    def run(self):
        while True:
            if self.socket is not None and self.library.modbus_tcp_accept(self.context, ctypes.byref(self.socket)) == -1:
                return
            self.serve()

    def serve(self):
        request = (ctypes.c_uint8 * LONGEST)()
        while (length := self.library.modbus_receive(self.context, request)) != -1:
            if length > 0:
                self.requests += 1
                self.library.modbus_reply(self.context, request, length, self.mapping)
        if self.socket is not None:
            self.library.modbus_close(self.context)

    async def set(self, table, address, values, unit=1):
        """Sets registers or bits from `address` on."""
        places = getattr(self.mapping.contents, table)
        for number, value in enumerate(values):
            places[address + number] = value

    async def count(self):
        """How many requests there were."""
        return {"requests": self.requests}


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--libraries", type=pathlib.Path, required=True, help="where libmodbus is, if the system has none")
parser.add_argument("--port", type=int, help="listen on this port")
parser.add_argument("--terminal", type=pathlib.Path, help="or serve a serial line, of which this is one end")
parser.add_argument("--unit", type=int, default=1, help="the unit of the serial line")
options = parser.parse_args()
server = Server(load(options.libraries), options)
threading.Thread(target=server.run, daemon=True).start()
asyncio.run(line_protocol.serve({"set": server.set, "count": server.count}))
# The library's thread waits within a call that nothing ends.
os._exit(0)
