//! The promises of every adapter.

use std::path::PathBuf;

use floorgate_adapter_api::conformance::Rig;
use floorgate_adapter_api::{Adapter, QualityClass, Value};
use floorgate_adapter_opcua::{OpcUa, pki};
use opcua::types::{DataValue, DateTime, StatusCode};

use crate::proxy::Proxy;
use crate::run::{Folder, addresses, settings};
use crate::server::{Manner, PLANT, TestServer};

struct PlantRig {
    server: TestServer,
    /// Where it can be made to stand still.
    proxy: Proxy,
    folder: Folder,
    /// How it is read, as settings.
    mode: &'static str,
}

impl PlantRig {
    async fn subscribed() -> Self {
        Self::read_as("mode: subscribe").await
    }

    async fn polled() -> Self {
        Self::read_as("mode: poll\npoll_interval: 10ms").await
    }

    async fn read_as(mode: &'static str) -> Self {
        let folder = Folder::new();
        // Making a key takes a second without optimisation, and the promises are about what comes after.
        pki::init(&folder.0.join("pki"), "urn:test:gateway", &[]).unwrap();
        let server = TestServer::reserved(Manner::default()).await;
        let proxy = Proxy::to(server.port).await;
        Self {
            server,
            proxy,
            folder,
            mode,
        }
    }
}

/// The queue that is asked for.
const QUEUE: usize = 10;

impl Rig for PlantRig {
    // Three publish requests may have been answered, each with a full queue.
    const HELD: usize = (2 + 3) * QUEUE;

    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(OpcUa)
    }

    fn settings(&self) -> String {
        let more = format!("{}\nqueue_size: {QUEUE}\n", self.mode);
        settings(self.proxy.port, &more)
    }

    fn address(&self, tag: usize) -> String {
        addresses(tag + 1).remove(tag)
    }

    fn refused_address(&self) -> String {
        format!("node: nsu={PLANT};s=NoSuchNode")
    }

    fn shown(&self, _: usize, value: i16) -> Value {
        Value::Int(i64::from(value))
    }

    async fn start(&mut self) {
        self.server.start().await;
    }

    async fn stop(&mut self) {
        self.server.kill();
    }

    async fn freeze(&mut self) {
        self.proxy.freeze(true);
    }

    async fn thaw(&mut self) {
        self.proxy.freeze(false);
    }

    async fn set(&mut self, tag: usize, value: i16) {
        self.server.set(tag, i32::from(value));
    }

    const SPOILT: &'static [QualityClass] = &[QualityClass::Uncertain, QualityClass::Bad];

    async fn spoil(&mut self, tag: usize, class: QualityClass) {
        let status = match class {
            QualityClass::Good => StatusCode::Good,
            QualityClass::Uncertain => StatusCode::UncertainLastUsableValue,
            QualityClass::Bad => StatusCode::BadSensorFailure,
        };
        let data = DataValue::new_at_status(0, DateTime::now(), status);
        self.server.set_data(tag, data);
    }

    fn connections(&self) -> Option<usize> {
        Some(self.server.sessions())
    }

    fn folder(&self) -> PathBuf {
        self.folder.0.clone()
    }
}

mod subscribed {
    floorgate_adapter_api::conformance_tests!(super::PlantRig::subscribed().await);
}

mod polled {
    floorgate_adapter_api::conformance_tests!(super::PlantRig::polled().await);
}
