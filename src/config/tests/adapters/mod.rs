//! Two adapters that open nothing and know the keys that the shipped files use.

use floorgate_adapter_api::{
    Adapter, Given, GivenKind, Happening, Node, Problems, RunFuture, Source, SourceContext, SourceSpec,
    Spanned,
};
use floorgate_yaml::salvage;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

/// What the doubles saw, to be compared in tests.
pub struct Planned;

impl Source for Planned {
    fn run(&self, context: SourceContext) -> RunFuture {
        Box::pin(async move { context.stop.cancelled().await })
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only decoded")]
struct ServerSettings {
    /// Address of the server.
    endpoint: Spanned<String>,
    #[serde(default)]
    security: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    publishing_interval: floorgate_yaml::Duration,
    #[serde(default)]
    sampling_interval: floorgate_yaml::Duration,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only decoded")]
struct NodeAddress {
    /// The node.
    node: Option<Spanned<String>>,
    /// Whose events.
    events: Option<String>,
    event_type: Option<String>,
    /// Whose conditions.
    conditions: Option<String>,
    field: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only decoded")]
struct DeviceSettings {
    /// Address of the device.
    connect: String,
    #[serde(default)]
    poll_interval: floorgate_yaml::Duration,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only decoded")]
struct RegisterAddress {
    holding: Option<u16>,
    discrete: Option<u16>,
    coil: Option<u16>,
    #[serde(rename = "type")]
    kind: Option<String>,
    word_order: Option<String>,
    length: Option<u16>,
    scale: Option<f64>,
    offset: Option<f64>,
    unit_id: Option<u8>,
}

pub struct OpcUa;

impl Adapter for OpcUa {
    fn name(&self) -> &'static str {
        "opcua"
    }

    fn settings_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<ServerSettings>()
    }

    fn address_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<NodeAddress>()
    }

    fn address_keys(&self) -> &'static [&'static str] {
        &["conditions", "event_type", "events", "field", "node"]
    }

    fn happens(&self, address: &Node) -> Option<Happening> {
        let events = address.get("events").map(|_| Happening::Event);
        events.or_else(|| address.get("conditions").map(|_| Happening::Condition))
    }

    fn plan(&self, spec: SourceSpec<'_>, problems: &mut Problems) -> Option<Box<dyn Source>> {
        let settings = salvage::<ServerSettings>(spec.settings, problems);
        if let Some(settings) = &settings
            && !settings.endpoint.starts_with("opc.tcp://")
        {
            problems.error(
                settings.endpoint.span,
                format!("endpoint {:?} is not opc.tcp", settings.endpoint.value),
            );
        }
        for tag in &spec.tags {
            if let Some(address) = salvage::<NodeAddress>(tag.address, problems)
                && let Some(node) = address.node
                && !node.contains('=')
            {
                problems
                    .error(
                        node.span,
                        format!("node {:?} of {} is no node id", node.value, tag.name),
                    )
                    .hint("such as `ns=2;s=Line1`");
            }
        }
        settings.map(|_| Box::new(Planned) as Box<dyn Source>)
    }
}

pub struct Modbus;

impl Adapter for Modbus {
    fn name(&self) -> &'static str {
        "modbus"
    }

    fn settings_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<DeviceSettings>()
    }

    fn address_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<RegisterAddress>()
    }

    fn address_keys(&self) -> &'static [&'static str] {
        &[
            "holding",
            "discrete",
            "coil",
            "type",
            "word_order",
            "length",
            "scale",
            "offset",
            "unit_id",
        ]
    }

    fn has_source_time(&self) -> bool {
        false
    }

    fn gives(&self, address: &Node) -> Option<Given> {
        let whole = |least, most| GivenKind::Whole { least, most };
        let bit = ["coil", "discrete"]
            .into_iter()
            .find(|table| address.get(table).is_some());
        let (kind, written) = match (bit, address.get("type").map(Node::as_text)) {
            (Some(table), None) => (GivenKind::Bit, table),
            (None, None | Some(Some("u16"))) if address.get("scale").is_some() => {
                let tenths = GivenKind::Fraction {
                    least: 0,
                    most: 65_535,
                    decimals: 1,
                };
                (tenths, "u16")
            }
            (None, None | Some(Some("u16"))) => (whole(0, 65_535), "u16"),
            (None, Some(Some("i16"))) => (whole(-32_768, 32_767), "i16"),
            (None, Some(Some("i32"))) => (whole(-2_147_483_648, 2_147_483_647), "i32"),
            (None, Some(Some("u32"))) => (whole(0, 4_294_967_295), "u32"),
            (None, Some(Some("f32"))) => (GivenKind::Float, "f32"),
            (None, Some(Some("string"))) => (GivenKind::Text, "string"),
            _ => return None,
        };
        Some(Given {
            kind,
            step: 1,
            written,
        })
    }

    fn plan(&self, spec: SourceSpec<'_>, problems: &mut Problems) -> Option<Box<dyn Source>> {
        let right = salvage::<DeviceSettings>(spec.settings, problems).is_some();
        let planned: Vec<&Node> = spec.tags.iter().map(|tag| tag.address).collect();
        let addresses = planned
            .into_iter()
            .filter_map(|node| salvage::<RegisterAddress>(node, problems))
            .count();
        (right && addresses == spec.tags.len()).then(|| Box::new(Planned) as Box<dyn Source>)
    }
}
