"""A structure as servers before OPC UA 1.04 have it: described in a type dictionary, without a DataTypeDefinition."""

from asyncua import ua
from asyncua.common.structures import load_type_definitions
from asyncua.common.type_dictionary_builder import DataTypeDictionaryBuilder

NODE = "Batch"


class Dictionary:
    """The structures `Step` and `Batch`, and a variable `Batch`; what it is set to is written as the dictionary says, which is read for it."""

    def __init__(self, server, plant):
        self.server, self.plant = server, plant

    async def add(self, value):
        """Adds the types and the variable."""
        builder = DataTypeDictionaryBuilder(
            self.server, self.plant.index, "urn:floorgate:test:plant", "PlantTypes"
        )
        await builder.init()
        step = await builder.create_data_type("Step")
        step.add_field("Name", ua.VariantType.String)
        step.add_field("Seconds", ua.VariantType.Double)
        batch = await builder.create_data_type("Batch")
        batch.add_field("Id", ua.VariantType.String)
        batch.add_field("Title", ua.VariantType.LocalizedText)
        batch.add_field("Main", step)
        batch.add_field("Steps", step, is_array=True)
        batch.add_field("Speeds", ua.VariantType.Float, is_array=True)
        batch.add_field("Done", ua.VariantType.Boolean)
        await builder.set_dict_byte_string()
        definition = await self.server.get_node(batch.data_type).read_data_type_definition()
        if definition is not None:
            raise RuntimeError(f"the server defines the type: {definition}")
        await load_type_definitions(self.server)
        kind = ua.VariantType.ExtensionObject
        await self.server.nodes.objects.add_variable(
            ua.NodeId(NODE, self.plant.index),
            ua.QualifiedName(NODE, self.plant.index),
            ua.Variant(self.batch(value), kind),
            datatype=batch.data_type,
        )
        self.plant.types[NODE] = kind

    async def set(self, value):
        """Sets the variable."""
        await self.plant.set(NODE, self.batch(value))

    def batch(self, value):
        batch = ua.Batch()
        batch.Id, batch.Title = value["Id"], ua.LocalizedText(value["Title"])
        batch.Main = ua.Step(**value["Main"])
        batch.Steps = [ua.Step(**step) for step in value["Steps"]]
        batch.Speeds, batch.Done = value["Speeds"], value["Done"]
        return batch
