//! A server that calls the gateway, encrypted (OPC 10000-6 §7.1.3), written by others than the gateway's library.

use anyhow::Result;
use floorgate_tests::{Gateway, Kafka, NodePeer, Patience, Reader, free_port};
use serde_json::json;

use crate::milo::COUNTING;
use crate::outage::{Outage, TIMES};
use crate::plant::{settings, topic, unique_site};

const URI: &str = "urn:floorgate:test:caller";

#[test]
fn a_server_that_calls_encrypted_calls_again_after_it_was_killed() -> Result<()> {
    let port = free_port()?;
    let calls = json!({
        "serverInfo": {"applicationUri": URI},
        "reverseConnect": {
            "connections": [{"endpointUrl": format!("opc.tcp://127.0.0.1:{port}")}],
            "reconnectDelay": 200,
            "maxReconnectDelay": 400,
        },
    });
    let mut plc = NodePeer::with(None, calls)?;
    plc.add("Good", "UInt32", 0)?;
    plc.add("Mode", "Int32", 1)?;
    let (site, bootstrap) = (unique_site(), Kafka::shared()?.bootstrap());
    let source = format!(
        "adapter: opcua\n    endpoint: {}\n    reverse_connect: {{listen: \"127.0.0.1:{port}\", server_uri: \"{URI}\"}}\n    \
         security: {{policy: aes256-sha256-rsapss, mode: sign-and-encrypt}}\n    trust_any_server_certificate: true\n    \
         publishing_interval: 10ms\n    {TIMES}\n    reconnect_limit: 1s",
        plc.url()
    );
    let mapping = format!("mapping: cell\nsource: plc\nequipment: acme/{site}/hall/cell{COUNTING}");
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[("cell.yaml", &mapping)])?;
    gateway.start()?;
    Reader::new(&bootstrap, &topic(&site, "mode-seen"))?.at_least(1, Patience::Long)?;
    let outage = Outage {
        server: &mut plc,
        gateway: &gateway,
        counts: Reader::new(&bootstrap, &topic(&site, "production-count"))?,
        counter: "Good",
        holds: (1, 2),
    };
    outage.dies()
}
