//! What has to be known of a server before anything is asked of it.

use std::time::Duration;

use opcua::client::services::Read;
use opcua::client::{Session, UARequest};
use opcua::types::{
    DataValue, Error, NamespaceMap, ReadValueId, StatusCode, TimestampsToReturn, VariableId, Variant,
};

use crate::plan::Plan;

/// Nodes in one request where the server names no limit. Larger requests gain nothing and some servers
/// refuse them.
const DEFAULT_BATCH: usize = 1_000;

/// What one session found out about its server.
#[derive(Debug)]
pub struct Facts {
    /// For each URI of the plan its index on this server, as of this session.
    pub namespaces: Vec<Option<u16>>,
    /// All of its namespaces.
    pub uris: Vec<String>,
    /// When the server started, in ticks of 100 ns; tells a server from its successor after a restart.
    pub started: Option<i64>,
    /// Most monitored items in one request.
    pub items_per_call: usize,
    /// Most nodes in one read.
    pub nodes_per_read: usize,
}

impl Facts {
    /// Reads them.
    pub async fn read(session: &Session, plan: &Plan) -> Result<Self, Error> {
        let nodes = [
            VariableId::Server_NamespaceArray,
            VariableId::Server_ServerStatus_StartTime,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
        ];
        let nodes: Vec<ReadValueId> = nodes
            .into_iter()
            .map(|id| ReadValueId::new_value(id.into()))
            .collect();
        let timeout = plan.settings.request_timeout.get();
        let mut values = read(session, nodes, TimestampsToReturn::Neither, timeout)
            .await?
            .into_iter();
        let mut next = || values.next().and_then(|value| value.value);

        let array = match next() {
            Some(Variant::Array(array)) => array.values,
            // Without the array no URI can be looked up; the tags that need one are refused by name.
            _ => Vec::new(),
        };
        let uris: Vec<&str> = array
            .iter()
            .map(|uri| {
                if let Variant::String(uri) = uri {
                    uri.as_ref()
                } else {
                    ""
                }
            })
            .collect();
        let index = |uri: &String| uris.iter().position(|known| known == uri);
        let namespaces = plan
            .laid_out
            .uris
            .iter()
            .map(|uri| index(uri).and_then(|at| u16::try_from(at).ok()))
            .collect();
        if let Ok(map) = NamespaceMap::new_from_variant_array(&array) {
            session.set_namespaces(map);
        }

        let started = match next() {
            Some(Variant::DateTime(time)) => Some(time.ticks()),
            _ => None,
        };
        let uris = uris.into_iter().map(str::to_owned).collect();
        Ok(Self {
            namespaces,
            uris,
            started,
            items_per_call: limit(next().as_ref()),
            nodes_per_read: limit(next().as_ref()),
        })
    }
}

/// A limit as the server gives it; 0 is no limit (OPC 10000-5 §6.3.11).
pub fn limit(value: Option<&Variant>) -> usize {
    match value {
        Some(Variant::UInt32(limit)) if *limit > 0 => {
            usize::try_from(*limit).map_or(DEFAULT_BATCH, |limit| limit.min(DEFAULT_BATCH))
        }
        _ => DEFAULT_BATCH,
    }
}

/// Reads nodes. The answer has one value for each node.
pub async fn read(
    session: &Session,
    nodes: Vec<ReadValueId>,
    timestamps: TimestampsToReturn,
    timeout: Duration,
) -> Result<Vec<DataValue>, Error> {
    let asked = nodes.len();
    let response = Read::new(session)
        .nodes_to_read(nodes)
        .timestamps_to_return(timestamps)
        .timeout(timeout)
        .send(session.channel())
        .await?;
    let values = response.results.unwrap_or_default();
    if values.len() == asked {
        Ok(values)
    } else {
        let got = values.len();
        Err(Error::new(
            StatusCode::BadUnknownResponse,
            format!("asked for {asked} values, got {got}"),
        ))
    }
}

/// The reason that people read: the status and what is said to it. The library writes errors of the system in Rust's own
/// notation, of which only the system's words are told.
pub fn reason(error: &Error) -> String {
    let text = error.to_string();
    for (notation, words) in [("Os { ", "message: \""), ("Custom { ", "error: \"")] {
        if let Some((before, rest)) = text.split_once(notation)
            && let Some((_, words)) = rest.split_once(words)
            && let Some((words, _)) = words.split_once("\" }")
        {
            return format!("{before}{words}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_in_the_words_of_server_and_system() {
        let refused = std::io::Error::from_raw_os_error(111);
        let looked_up =
            std::io::Error::other("failed to lookup address information: Name or service not known");
        for (context, told) in [
            (
                format!("Could not connect to host plc:4840, {refused:?}"),
                "BadCommunicationError: Could not connect to host plc:4840, Connection refused",
            ),
            (
                format!("Invalid address plc, cannot be parsed {looked_up:?}"),
                "BadCommunicationError: Invalid address plc, cannot be parsed failed to lookup address information: Name or \
                 service not known",
            ),
            ("no answer".to_owned(), "BadCommunicationError: no answer"),
        ] {
            assert_eq!(
                reason(&Error::new(StatusCode::BadCommunicationError, context)),
                told
            );
        }
    }
}
