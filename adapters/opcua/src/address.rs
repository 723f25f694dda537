//! Node addresses: `nsu=urn:plant;s=Line1.State`, `ns=2;i=42`, `i=2258` (OPC 10000-6 §5.3.1.10, §5.3.1.11).

use std::borrow::Cow;
use std::fmt;

use floorgate_yaml::Duration;
use opcua::types::{ByteString, Guid, Identifier, UAString};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// Where a tag's value comes from: one of `node`, `events` and `conditions`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The node whose value it is: `nsu=NAMESPACE-URI;s=NAME` (recommended), or with the namespace's index `ns=2;s=NAME`. In place of `s=`
    /// (text): `i=` (number), `g=` (GUID), `b=` (bytes in base64).
    #[serde(default)]
    pub node: Option<String>,
    /// The object whose events the tag tells, written as `node`; `i=2253` is the server itself, which tells the events of all its objects. With `field`.
    #[serde(default)]
    pub events: Option<String>,
    /// The type of these events, written as `node`. Without it: events of every type.
    #[serde(default)]
    pub event_type: Option<String>,
    /// The object whose alarms and conditions the tag tells (OPC 10000-9), written as `node`; `i=2253` is the server itself. For `Alarm`.
    #[serde(default)]
    pub conditions: Option<String>,
    /// The part of the value that is the tag's: `Recipe.Name` of a structure, `[3]` of an array (from 0), `Steps[2].Time` of both. Of an event its
    /// field and a part of that: `JobState[0].StateNumber`, or `ActiveState/Id` of a field's field.
    #[serde(default)]
    pub field: Option<String>,
    /// How often the server looks at this node, in place of the source's setting; without either, the tag's publishing interval.
    #[serde(default)]
    pub sampling_interval: Option<Duration>,
    /// How often the server sends what changed of this node, in place of the source's setting. Tags of one interval share subscriptions; those of different intervals
    /// come in messages of their own, so that what changed together is not seen together.
    #[serde(default)]
    pub publishing_interval: Option<Duration>,
    /// How many values of this node the server keeps, in place of the source's setting.
    #[serde(default)]
    pub queue_size: Option<u32>,
    /// The smallest change that the server reports, against what it reported last: in the tag's unit (`0.5`), or in per cent (`2%`) of the range that the server knows of
    /// the node (its `EURange`). What a server holds back nobody sees: `deadband` of the mapping does without that.
    #[serde(default)]
    pub server_deadband: Option<ServerDeadband>,
}

/// The smallest change that the server reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServerDeadband {
    /// In the tag's unit.
    Absolute(f64),
    /// In per cent of the node's range.
    Percent(f64),
}

impl<'de> Deserialize<'de> for ServerDeadband {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = ServerDeadband;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number that is not negative such as 0.5, or per cent such as 2%")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<ServerDeadband, E> {
                self.visit_f64(number as f64)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<ServerDeadband, E> {
                self.visit_f64(number as f64)
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<ServerDeadband, E> {
                if number.is_finite() && number >= 0.0 {
                    Ok(ServerDeadband::Absolute(number))
                } else {
                    Err(E::invalid_value(Unexpected::Float(number), &self))
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ServerDeadband, E> {
                let percent = text.strip_suffix('%').and_then(|text| text.trim().parse().ok());
                percent
                    .filter(|percent: &f64| (0.0..=100.0).contains(percent))
                    .map(ServerDeadband::Percent)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for ServerDeadband {
    fn schema_name() -> Cow<'static, str> {
        "OpcUaServerDeadband".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number", "minimum": 0 }, { "type": "string", "pattern": "^[0-9.]+ ?%$" }] })
    }
}

/// A node as it is written: the namespace by URI or by index, and the identifier in it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeAddress<'a> {
    /// The namespace.
    pub namespace: NamespaceName<'a>,
    /// The identifier.
    pub identifier: Identifier,
}

/// A namespace as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceName<'a> {
    /// The index in the server's namespace array.
    Index(u16),
    /// The URI.
    Uri(&'a str),
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A namespace that is neither URI nor index.
    #[error("namespace index `{0}` is not a number from 0 to 65535")]
    Index(String),
    /// `nsu=` with nothing behind it.
    #[error("the namespace URI is empty")]
    EmptyUri,
    /// There is no `i=`, `s=`, `g=` or `b=`.
    #[error("`{0}` is no node identifier")]
    NoIdentifier(String),
    /// A numeric identifier that is none.
    #[error("identifier `i={0}` is not a number from 0 to 4294967295")]
    Number(String),
    /// A GUID that is none.
    #[error("identifier `g={0}` is not a GUID")]
    Guid(String),
    /// Bytes that are not base64.
    #[error("identifier `b={0}` is not base64")]
    Base64(String),
    /// A text identifier that is empty.
    #[error("the identifier is empty")]
    Empty,
}

impl<'a> NodeAddress<'a> {
    /// Reads an address.
    pub fn parse(text: &'a str) -> Result<Self, AddressError> {
        let (namespace, identifier) = if let Some(rest) = text.strip_prefix("nsu=") {
            // A URI may hold a semicolon only in escaped form, so the first one ends it.
            let (uri, identifier) = rest
                .split_once(';')
                .ok_or_else(|| AddressError::NoIdentifier(text.to_owned()))?;
            if uri.is_empty() {
                return Err(AddressError::EmptyUri);
            }
            (NamespaceName::Uri(uri), identifier)
        } else if let Some(rest) = text.strip_prefix("ns=") {
            let (index, identifier) = rest
                .split_once(';')
                .ok_or_else(|| AddressError::NoIdentifier(text.to_owned()))?;
            let index = index.parse().map_err(|_| AddressError::Index(index.to_owned()))?;
            (NamespaceName::Index(index), identifier)
        } else {
            (NamespaceName::Index(0), text)
        };
        Ok(Self {
            namespace,
            identifier: identifier_of(identifier)?,
        })
    }
}

fn identifier_of(text: &str) -> Result<Identifier, AddressError> {
    let (kind, value) = text
        .split_once('=')
        .ok_or_else(|| AddressError::NoIdentifier(text.to_owned()))?;
    let wrong = |error: fn(String) -> AddressError| move || error(value.to_owned());
    match kind {
        "i" => value
            .parse()
            .map(Identifier::Numeric)
            .map_err(|_| wrong(AddressError::Number)()),
        "s" if value.is_empty() => Err(AddressError::Empty),
        "s" => Ok(Identifier::String(UAString::from(value))),
        "g" => value
            .parse::<Guid>()
            .map(Identifier::Guid)
            .map_err(|_| wrong(AddressError::Guid)()),
        "b" => ByteString::from_base64(value)
            .map(Identifier::ByteString)
            .ok_or_else(wrong(AddressError::Base64)),
        _ => Err(AddressError::NoIdentifier(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (NamespaceName<'_>, Identifier) {
        let address = NodeAddress::parse(text).unwrap();
        (address.namespace, address.identifier)
    }

    #[test]
    fn nodes_are_named_by_uri_or_index() {
        assert_eq!(
            parsed("nsu=urn:plant;s=Line1.State"),
            (
                NamespaceName::Uri("urn:plant"),
                Identifier::String("Line1.State".into())
            )
        );
        assert_eq!(
            parsed("ns=2;i=42"),
            (NamespaceName::Index(2), Identifier::Numeric(42))
        );
        assert_eq!(
            parsed("i=2258"),
            (NamespaceName::Index(0), Identifier::Numeric(2258))
        );
        assert_eq!(
            parsed("nsu=http://x/y;b=AQID").1,
            Identifier::ByteString(ByteString::from(vec![1, 2, 3]))
        );
        let guid = "09087e75-8e5e-499b-954f-f2a9603db28a";
        assert_eq!(
            parsed(&format!("ns=1;g={guid}")).1,
            Identifier::Guid(guid.parse().unwrap())
        );
    }

    #[test]
    fn text_identifiers_keep_every_character() {
        let siemens = "\"Data_block_1\".\"a;b=c\"";
        assert_eq!(
            parsed(&format!("ns=3;s={siemens}")).1,
            Identifier::String(siemens.into())
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text| NodeAddress::parse(text).unwrap_err().to_string();
        assert_eq!(
            error("ns=70000;i=1"),
            "namespace index `70000` is not a number from 0 to 65535"
        );
        assert_eq!(error("nsu=;i=1"), "the namespace URI is empty");
        assert_eq!(error("Line1.State"), "`Line1.State` is no node identifier");
        assert_eq!(error("ns=2;x=1"), "`x=1` is no node identifier");
        assert_eq!(
            error("ns=2;i=-1"),
            "identifier `i=-1` is not a number from 0 to 4294967295"
        );
        assert_eq!(error("g=1234"), "identifier `g=1234` is not a GUID");
        assert_eq!(error("b=*"), "identifier `b=*` is not base64");
        assert_eq!(error("ns=2"), "`ns=2` is no node identifier");
        assert_eq!(error("ns=2;s="), "the identifier is empty");
    }
}
