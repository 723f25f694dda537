//! An adapter that opens nothing and notes the addresses that it is given.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use floorgate_adapter_api::{
    Adapter, Node, NodeKind, Point, PointKind, Problems, RunFuture, Scalar, Source, SourceContext,
    SourceSpec, Survey,
};
use floorgate_config::load_with;
use floorgate_workbench::draft::{DraftOptions, Mapping, mappings};
use schemars::{Schema, SchemaGenerator, json_schema};

/// A point with an address in text.
pub fn point(path: &[&str], address: &str, kind: PointKind) -> Point {
    let node = Scalar::Text(format!("nsu=urn:plant;s={address}"));
    Point {
        path: path.iter().map(|name| (*name).to_owned()).collect(),
        address: vec![("node", node)],
        kind,
        unit: None,
        range: None,
        states: Vec::new(),
        description: None,
        value: None,
        role: None,
    }
}

/// A whole number with a number as its address.
pub fn whole(path: &[&str], address: i64) -> Point {
    Point {
        address: vec![("holding", Scalar::Int(address))],
        ..point(path, "", PointKind::Whole)
    }
}

/// Drafts mappings and has them loaded: there is no mistake, and the adapter gets the addresses of all points that can be used.
pub fn check(survey: &Survey, options: &DraftOptions) -> Vec<Mapping> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let drafts = mappings(survey, options);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("floorgate-draft-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for draft in &drafts {
        fs::write(folder.join(format!("{}.yaml", draft.name)), &draft.text).unwrap();
    }
    let settings = "gateway: g\nmappings: [\"*.yaml\"]\nsources: {plc: {adapter: device}}\n\
                    kafka: {brokers: [\"k:9092\"], security: {protocol: plaintext}}\n";
    fs::create_dir_all(folder.join("settings")).unwrap();
    let file = folder.join("settings/floorgate.yaml");
    fs::write(&file, settings.replace("*.yaml", "../*.yaml")).unwrap();
    let device = Device::default();
    let (loaded, problems) = load_with(&file, &[&device], BTreeMap::new());
    let text: String = drafts.iter().map(|draft| draft.text.as_str()).collect();
    assert!(loaded.is_some(), "{}\n{text}", problems.render(false));
    fs::remove_dir_all(&folder).unwrap();

    let mut given = device.seen.into_inner().unwrap();
    given.sort();
    let is_used =
        |point: &&Point| !matches!(point.kind, PointKind::Text | PointKind::Other) || point.role.is_some();
    let shown = |point: &Point| match &point.address[0].1 {
        Scalar::Text(text) => text.clone(),
        Scalar::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let mut expected: Vec<String> = survey.points.iter().filter(is_used).map(shown).collect();
    expected.sort();
    assert_eq!(given.len(), expected.len(), "{text}");
    let differing = given.iter().zip(&expected).find(|(one, other)| one != other);
    assert_eq!(differing, None, "an address was changed");
    assert_eq!(
        drafts
            .iter()
            .map(|draft| draft.tags * draft.instances.max(1))
            .sum::<usize>(),
        expected.len(),
        "what a draft tells of itself"
    );
    drafts
}

/// The adapter.
#[derive(Default)]
struct Device {
    seen: Mutex<Vec<String>>,
}

struct Nothing;

impl Source for Nothing {
    fn run(&self, context: SourceContext) -> RunFuture {
        Box::pin(async move { context.stop.cancelled().await })
    }
}

impl Adapter for Device {
    fn name(&self) -> &'static str {
        "device"
    }

    fn settings_schema(&self, _: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }

    fn address_schema(&self, _: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }

    fn address_keys(&self) -> &'static [&'static str] {
        &["node", "holding"]
    }

    fn plan(&self, spec: SourceSpec<'_>, _: &mut Problems) -> Option<Box<dyn Source>> {
        let shown = |node: &Node| match &node.kind {
            NodeKind::Text(text) => text.clone(),
            NodeKind::Int(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        let address = |node: &Node| {
            let first = ["node", "holding"].into_iter().find_map(|key| node.get(key));
            first.map_or_else(String::new, shown)
        };
        let seen = spec.tags.iter().map(|tag| address(tag.address));
        self.seen.lock().unwrap().extend(seen);
        Some(Box::new(Nothing))
    }
}
