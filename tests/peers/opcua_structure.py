"""Address spaces as plants have them, for tests of `floorgate browse`."""

import asyncio

from asyncua import ua
from asyncua.server.internal_session import InternalSession

PACKML = "http://opcfoundation.org/UA/PackML/"
MACHINERY = "http://opcfoundation.org/UA/Machinery/"
UNITS = "http://www.opcfoundation.org/UA/units/un/cefact"


def code(text):
    """The number of a unit: the code's ASCII bytes (OPC 10000-8 §5.6.3)."""
    return int.from_bytes(text.encode(), "big")


class Walks:
    """Browse requests, which can be made to wait."""

    def __init__(self):
        self.left, self.held, self.most, self.failing = None, 0, None, None
        browse, read = InternalSession.browse, InternalSession.read

        async def browse_or_wait(session, parameters):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    self.held += 1
                    await asyncio.Event().wait()
            self.check(parameters.NodesToBrowse)
            return await browse(session, parameters)

        async def read_or_refuse(session, parameters):
            self.check(parameters.NodesToRead)
            if self.failing in [node.NodeId.Identifier for node in parameters.NodesToRead]:
                raise ua.uaerrors.BadInternalError
            return await read(session, parameters)

        InternalSession.browse, InternalSession.read = browse_or_wait, read_or_refuse

    def check(self, nodes):
        if self.most is not None and len(nodes) > self.most:
            raise ua.uaerrors.BadTooManyOperations

    async def limit(self, most):
        """Refuses requests of more nodes, without having told so in its limits."""
        self.most = most

    async def fail(self, name):
        """Refuses the whole of a request to read in which this node is; none of them where there is no name."""
        self.failing = name

    async def hold(self, after):
        """Answers so many more requests, and none after them."""
        self.left = after

    async def holding(self):
        """How many requests are not answered."""
        return {"value": self.held}


class Structure:
    """Builds objects and variables in the plant's namespace; identifiers are the paths with dots."""

    def __init__(self, server, plant):
        self.server, self.plant, self.index = server, plant, plant.index

    def id(self, path):
        return ua.NodeId(path, self.index)

    async def object(self, parent, path, name=None, space=None, kind=None):
        name = ua.QualifiedName(name or path.rsplit(".")[-1], self.index if space is None else space)
        return await parent.add_object(self.id(path), name, objecttype=kind)

    async def variable(self, parent, path, type, value, space=None):
        name = ua.QualifiedName(path.rsplit(".")[-1], self.index if space is None else space)
        node = await parent.add_variable(self.id(path), name, ua.Variant(value, ua.VariantType[type]))
        self.plant.types[path] = ua.VariantType[type]
        return node

    async def property(self, node, path, name, variant):
        await node.add_property(self.id(f"{path}.{name}"), ua.QualifiedName(name, 0), variant)

    async def analog(self, parent, path, value, low, high, unit, shown):
        node = await self.variable(parent, path, "Double", value)
        await self.property(node, path, "EURange", ua.Variant(ua.Range(low, high)))
        information = ua.EUInformation(UNITS, code(unit), ua.LocalizedText(shown), ua.LocalizedText(shown))
        await self.property(node, path, "EngineeringUnits", ua.Variant(information))
        return node

    async def names(self, node, path, names):
        texts = [ua.LocalizedText(name) for name in names]
        await self.property(node, path, "EnumStrings", ua.Variant(texts, ua.VariantType.LocalizedText, is_array=True))

    async def unreadable(self, parent, path):
        """A variable that nobody may read. The server has no rights of its own for reading, so its value says it."""
        node = await self.variable(parent, path, "Int32", 0)
        denied = ua.DataValue(ua.Variant(None), ua.StatusCode(ua.StatusCodes.BadUserAccessDenied))
        await self.server.write_attribute_value(node.nodeid, denied)

    async def filler(self, parent, path):
        """A machine with PackML status, an analog value, two kinds of enumerations, a text and what nobody may read."""
        packml = self.server.get_node(ua.ObjectIds.BaseObjectType)
        machine = await self.object(parent, path)
        status = await self.object(machine, f"{path}.Status", kind=packml.nodeid)
        space = self.packml
        await self.variable(status, f"{path}.Status.StateCurrent", "Int32", 4, space)
        await self.variable(status, f"{path}.Status.UnitModeCurrent", "Int32", 1, space)
        await self.variable(status, f"{path}.Status.EquipmentBlocked", "Boolean", False, space)
        temperature = await self.analog(machine, f"{path}.Temperature", 21.5, 0.0, 150.0, "CEL", "°C")
        await self.server.write_attribute_value(
            temperature.nodeid, ua.DataValue(ua.Variant(ua.LocalizedText("of the bowl"))), ua.AttributeIds.Description
        )
        door = await self.variable(machine, f"{path}.Door", "UInt32", 0)
        await self.names(door, f"{path}.Door", ["Closed", "Open", "Moving"])
        running = await self.variable(machine, f"{path}.Running", "Boolean", False)
        for name, text in [("TrueState", "Runs"), ("FalseState", "Stands")]:
            await self.property(running, f"{path}.Running", name, ua.Variant(ua.LocalizedText(text)))
        await self.variable(machine, f"{path}.Recipe", "String", "R-1")
        await self.unreadable(machine, f"{path}.Secret")

    async def hall(self):
        """Three lines with a filler each, a robot with a state of OPC 40001-1, and a cycle of references."""
        self.packml = await self.server.register_namespace(PACKML)
        machinery = await self.server.register_namespace(MACHINERY)
        hall = await self.object(self.server.nodes.objects, "Hall")
        for number in range(1, 4):
            line = await self.object(hall, f"Line{number}")
            await self.filler(line, f"Line{number}.Filler")
            await self.analog(line, f"Line{number}.Speed", 1.0, 0.0, 3.0, "MTS", "m/s")
            # Back to the top: the walk must not go round.
            await line.add_reference(hall, ua.ObjectIds.Organizes)
        robot = await self.object(hall, "Robot")
        state = await self.object(robot, "Robot.State", "MachineryItemState", machinery)
        current = await state.add_variable(
            self.id("Robot.State.CurrentState"),
            ua.QualifiedName("CurrentState", 0),
            ua.Variant(ua.LocalizedText("Executing")),
        )
        self.plant.types["Robot.State.CurrentState"] = ua.VariantType.LocalizedText
        await self.property(
            current, "Robot.State.CurrentState", "Id", ua.Variant(ua.NodeId(5003, machinery))
        )

    async def many(self, machines, values):
        """A hall of equal machines, each with as many values: machines * (values + 1) nodes, and a property of each value."""
        hall = await self.object(self.server.nodes.objects, "Many")
        for machine in range(machines):
            path = f"Machine{machine:04}"
            node = await self.object(hall, path)
            for number in range(values):
                value = await self.variable(node, f"{path}.Value{number}", "Double", float(number))
                await self.property(
                    value, f"{path}.Value{number}", "EURange", ua.Variant(ua.Range(0.0, 100.0))
                )
