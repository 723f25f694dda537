//! A look at a server that gives little at once.

use std::path::Path;

use floorgate_adapter_api::{CancellationToken, PointKind, Problems, Scalar, SourceSpec};
use floorgate_adapter_opcua::browse::{BrowseError, BrowseOptions, Browsed, Browser, Progress};

use crate::run::{Folder, node, settings};
use crate::server::{Manner, PLANT, TestServer};

async fn look(folder: &Path, settings: &str, path: Option<&str>) -> Result<Browsed, BrowseError> {
    let mut problems = Problems::default();
    let settings = node(settings, &mut problems);
    let spec = SourceSpec {
        name: "plc",
        settings: &settings,
        tags: Vec::new(),
        snapshots: Vec::new(),
        base: folder,
        state: folder,
    };
    let options = BrowseOptions {
        path: path.map(str::to_owned),
        depth: None,
        include: Vec::new(),
        exclude: Vec::new(),
        most_nodes: 1_000_000,
        trust_once: None,
    };
    let browser = Browser::new(&spec, options, &mut problems)?;
    let browser = browser.unwrap_or_else(|| panic!("{}", problems.render(false)));
    browser
        .browse(&CancellationToken::new(), &Progress::default())
        .await
}

/// The variables of one folder come in many answers, and their values in many more.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_pieces_is_whole() {
    for (browse_limits, nodes) in [(None, 1_500), (Some((1, 7)), 60), (Some((3, 1_000)), 90)] {
        let manner = Manner {
            nodes,
            browse_limits,
            most_nodes_per_read: browse_limits.map(|(nodes, _)| nodes * 50),
            ..Manner::default()
        };
        let mut server = TestServer::started(manner).await;
        server.set(7, 77);
        let folder = Folder::new();
        let browsed = look(&folder.0, &settings(server.port, ""), None).await.unwrap();
        assert_eq!(browsed.survey.missed, Vec::<String>::new(), "{browse_limits:?}");
        assert!(!browsed.survey.is_partial);
        assert_eq!((browsed.nodes, browsed.variables), (2 * nodes, 2 * nodes));
        let of_plant: Vec<_> = browsed
            .survey
            .points
            .iter()
            .filter(|point| matches!(&point.address[0].1, Scalar::Text(node) if node.starts_with(&format!("nsu={PLANT};"))))
            .collect();
        let names: Vec<&str> = of_plant.iter().map(|point| point.path[0].as_str()).collect();
        assert_eq!(names.len(), nodes);
        let in_order = (0..nodes).map(|number| format!("T{number}"));
        let all: std::collections::HashSet<String> = in_order.collect();
        assert!(
            names.iter().all(|name| all.contains(*name)),
            "no name comes twice or is lost"
        );
        let seventh = of_plant.iter().find(|point| point.path == ["T7"]).unwrap();
        assert_eq!(
            (seventh.kind, seventh.value.as_deref()),
            (PointKind::Whole, Some("77"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_that_is_not_there_is_told() {
    let server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let settings = settings(server.port, "");
    for (path, expected) in [
        ("Objects/T9", "there is no `T9` in `Objects`"),
        ("nsu=urn:nobody;s=T1", "it has no namespace urn:nobody"),
        ("nsu=urn:test:plant;s=T9", "BadNodeIdUnknown"),
    ] {
        let error = look(&folder.0, &settings, Some(path))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{path}: {error}");
    }
    let alone = look(&folder.0, &settings, Some("T2")).await.unwrap();
    assert_eq!(
        alone.survey.points.len(),
        1,
        "the beginning itself, where it is a variable"
    );
}
