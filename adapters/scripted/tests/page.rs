//! The rig of the page that leads through a new adapter: it stands here as it stands there, and is compiled against the contract.

use std::future::{Ready, ready};
use std::net::SocketAddr;

use floorgate_adapter_api::conformance::Rig;
use floorgate_adapter_api::{Adapter, Problems, QualityClass, Source, SourceSpec, Value};
use floorgate_adapter_scripted::Scripted;
use schemars::{Schema, SchemaGenerator};

const PAGE: &str = include_str!("../../api/README.md");

/// What the page leaves to its reader: an adapter, and a device for its tests.
struct Pump;

impl Adapter for Pump {
    fn name(&self) -> &'static str {
        "pump"
    }

    fn settings_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        Scripted::default().settings_schema(generator)
    }

    fn address_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        Scripted::default().address_schema(generator)
    }

    fn address_keys(&self) -> &'static [&'static str] {
        &["register"]
    }

    fn plan(&self, spec: SourceSpec<'_>, problems: &mut Problems) -> Option<Box<dyn Source>> {
        Scripted::default().plan(spec, problems)
    }
}

#[derive(Debug, Default)]
struct Device {
    values: Vec<(usize, i16)>,
    failing: Vec<usize>,
}

impl Device {
    fn address(&self) -> SocketAddr {
        let last = self.values.last().map_or(0, |(_, value)| value.unsigned_abs());
        SocketAddr::from(([127, 0, 0, 1], last))
    }

    fn start(&mut self) -> Ready<()> {
        self.failing.clear();
        ready(())
    }

    fn stop(&mut self) -> Ready<()> {
        self.values.clear();
        ready(())
    }

    fn stands_still(&mut self, still: bool) {
        self.failing.extend(still.then_some(0));
    }

    fn set(&mut self, tag: usize, value: i16) {
        self.values.push((tag, value));
    }

    fn fails_at(&mut self, tag: usize) {
        self.failing.push(tag);
    }

    fn connections(&self) -> usize {
        self.failing.len()
    }
}

#[rustfmt::skip]
mod of_the_page {
use super::*;

// From the page:
struct PumpRig { device: Device }

impl floorgate_adapter_api::conformance::Rig for PumpRig {
    fn adapter(&self) -> Box<dyn Adapter> { Box::new(Pump) }
    fn settings(&self) -> String { format!("connect: {}\ntimeout: 200ms\n", self.device.address()) }
    fn address(&self, tag: usize) -> String { format!("{{register: {tag}}}") }
    fn refused_address(&self) -> String { "{register: 999}".to_owned() }
    fn shown(&self, _: usize, value: i16) -> Value { Value::Int(value.into()) }
    async fn start(&mut self) { self.device.start().await }
    async fn stop(&mut self) { self.device.stop().await }
    async fn freeze(&mut self) { self.device.stands_still(true) }
    async fn thaw(&mut self) { self.device.stands_still(false) }
    async fn set(&mut self, tag: usize, value: i16) { self.device.set(tag, value) }
    const SPOILT: &'static [QualityClass] = &[QualityClass::Bad];
    async fn spoil(&mut self, tag: usize, _: QualityClass) { self.device.fails_at(tag) }
    fn connections(&self) -> Option<usize> { Some(self.device.connections()) }
}
// So far.

pub fn rig() -> impl Rig {
    PumpRig { device: Device::default() }
}
}

#[test]
fn the_rig_of_the_page_is_one() {
    let own = include_str!("page.rs");
    let (_, own) = own.split_once("// From the page:\n").expect("it begins");
    let (own, _) = own.split_once("// So far.").expect("it ends");
    let (_, page) = PAGE.split_once("```rust\n").expect("the page has an example");
    let (page, _) = page.split_once("\nmod conformance").expect("the tests follow");
    assert_eq!(page, own);
    assert_eq!(of_the_page::rig().adapter().name(), "pump");
}
