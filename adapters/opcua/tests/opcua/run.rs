//! A source that runs as in the gateway, and what came from it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use floorgate_adapter_api::{
    Adapter, Admission, Batch, Bookmarks, CancellationToken, Notice, Problems, Receipt, Sample, Source,
    SourceContext, SourceMetrics, SourceSpec, TagId, TagSpec, Value, intake,
};
use floorgate_adapter_opcua::OpcUa;
use floorgate_metrics::Metrics;
use floorgate_yaml::{Node, parse};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::server::{PLANT, node_name};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that is removed with its test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("floorgate-opcua-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A connection that was given up may be making its key still: this waits for whoever makes one, and makes none.
        let _ = floorgate_adapter_opcua::pki::renew(&self.0.join("none"), false);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Something that came from the source.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Notice(Notice),
    Sample(Sample),
}

impl Seen {
    pub fn shows(&self, tag: usize, value: &Value) -> bool {
        matches!(self, Self::Sample(s) if s.tag.index() == tag && s.value.as_ref() == Some(value) && s.quality.is_good())
    }
}

/// Settings without security for a server at this port, and `more` of them.
pub fn settings(port: u16, more: &str) -> String {
    format!(
        "endpoint: opc.tcp://127.0.0.1:{port}/\nsecurity: {{policy: none, mode: none}}\npublishing_interval: 10ms\nsampling_interval: 0ms\nreconnect_limit: 500ms\nkeep_alive: 300ms\nrequest_timeout: 1s\n{more}"
    )
}

/// The addresses of the first nodes of the plant.
pub fn addresses(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("node: nsu={PLANT};s={}", node_name(number)))
        .collect()
}

pub fn node(text: &str, problems: &mut Problems) -> Node {
    let file = problems.add_file(Path::new("test.yaml"), text.to_owned());
    parse(file, text, problems).expect("the test's YAML can be read")
}

/// Plans a source.
pub fn plan(folder: &Path, settings: &str, addresses: &[String]) -> (Option<Box<dyn Source>>, Problems) {
    let mut problems = Problems::default();
    let settings = node(settings, &mut problems);
    let nodes: Vec<(String, Node)> = addresses
        .iter()
        .enumerate()
        .map(|(number, address)| (format!("test/tag{number}"), node(address, &mut problems)))
        .collect();
    let tags = (0..)
        .zip(&nodes)
        .map(|(id, (name, address))| TagSpec {
            id: TagId(id),
            name,
            address,
            on_demand: false,
        })
        .collect();
    let spec = SourceSpec {
        name: "plc",
        settings: &settings,
        tags,
        snapshots: Vec::new(),
        base: folder,
        state: folder,
    };
    let source = OpcUa.plan(spec, &mut problems);
    (source, problems)
}

/// A running source.
pub struct Run {
    received: UnboundedReceiver<(Batch, Admission)>,
    log: Vec<Seen>,
    /// The bookmarks of what was received.
    pub bookmarks: HashMap<String, String>,
    /// Receipts of what was received, when they are not fired at once.
    pub receipts: Option<Vec<Receipt>>,
    pub metrics: SourceMetrics,
    all_metrics: Metrics,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// The certificate that the source makes before it connects for the first time.
    certificate: PathBuf,
}

impl Run {
    pub fn new(folder: &Folder, settings: &str, addresses: &[String]) -> Self {
        Self::with_room(folder, settings, addresses, 1_000_000)
    }

    pub fn with_room(folder: &Folder, settings: &str, addresses: &[String], room: u32) -> Self {
        Self::start(folder, settings, addresses, room, HashMap::new())
    }

    /// A source of a process after one that stored these bookmarks.
    pub fn after(
        bookmarks: HashMap<String, String>,
        folder: &Folder,
        settings: &str,
        addresses: &[String],
    ) -> Self {
        Self::start(folder, settings, addresses, 1_000_000, bookmarks)
    }

    fn start(
        folder: &Folder,
        settings: &str,
        addresses: &[String],
        room: u32,
        bookmarks: HashMap<String, String>,
    ) -> Self {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
        let (source, problems) = plan(&folder.0, settings, addresses);
        let source = source.unwrap_or_else(|| panic!("{:#?}", problems.list()));
        let (sender, from_source) = std::sync::mpsc::channel();
        let (to_test, received) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            while let Ok(message) = from_source.recv() {
                if to_test.send(message).is_err() {
                    break;
                }
            }
        });
        let all_metrics = Metrics::new().unwrap();
        let metrics = all_metrics.source("plc");
        let stop = CancellationToken::new();
        let context = SourceContext {
            name: "plc".to_owned(),
            intake: intake(room, sender, |batch, admission| (batch, admission)),
            bookmarks: Bookmarks::new(bookmarks.clone()),
            stop: stop.clone(),
            metrics: metrics.clone(),
            requests: floorgate_adapter_api::requests(1).1,
        };
        let task = tokio::spawn(source.run(context));
        Self {
            received,
            log: Vec::new(),
            bookmarks,
            receipts: None,
            metrics,
            all_metrics,
            stop,
            task,
            certificate: folder.0.join("pki/own/cert.der"),
        }
    }

    /// Receives until `done`, and returns what was received with it.
    pub async fn until(&mut self, what: &str, mut done: impl FnMut(&Seen) -> bool) -> Vec<Seen> {
        let mut seen = Vec::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let received = tokio::time::timeout_at(deadline, self.received.recv()).await;
            let Ok(Some((batch, _admission))) = received else {
                let tail = &self.log[self.log.len().saturating_sub(20)..];
                panic!("{what}: not within {PATIENCE:?}; at last: {tail:#?}");
            };
            let marks = batch.bookmarks.into_iter();
            self.bookmarks
                .extend(marks.map(|mark| (mark.name.to_owned(), mark.text)));
            match &mut self.receipts {
                Some(kept) => kept.extend(batch.receipt),
                None => batch.receipt.into_iter().for_each(Receipt::fire),
            }
            let notices = batch.notices.into_iter().map(Seen::Notice);
            let begin = seen.len();
            seen.extend(notices.chain(batch.samples.into_iter().map(Seen::Sample)));
            self.log.extend_from_slice(&seen[begin..]);
            let mut is_done = false;
            for one in &seen[begin..] {
                is_done |= done(one);
            }
            if is_done {
                return seen;
            }
        }
    }

    /// Receives until a tag shows a value.
    pub async fn shows(&mut self, tag: usize, value: impl Into<i64>) -> Vec<Seen> {
        let value = Value::Int(value.into());
        self.until(&format!("tag {tag} shows {value}"), |seen| {
            seen.shows(tag, &value)
        })
        .await
    }

    /// Receives until a notice.
    pub async fn notice(&mut self, what: &str, wanted: impl Fn(&Notice) -> bool) -> Vec<Seen> {
        self.until(
            what,
            |seen| matches!(seen, Seen::Notice(notice) if wanted(notice)),
        )
        .await
    }

    /// All integers that a tag has shown so far.
    pub fn shown(&self, tag: usize) -> Vec<i64> {
        let value = |seen: &Seen| match seen {
            Seen::Sample(sample) if sample.tag.index() == tag => match sample.value {
                Some(Value::Int(value)) => Some(value),
                _ => None,
            },
            _ => None,
        };
        self.log.iter().filter_map(value).collect()
    }

    /// What is exported of a setting as the server revised it.
    pub fn revised(&self, setting: &str) -> Option<f64> {
        self.gauge_of("floorgate_source_revised", "setting", setting)
    }

    /// What is exported as a gauge where a label has this value.
    pub fn gauge_of(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        let families = self.all_metrics.registry.gather();
        let family = families.iter().find(|family| family.name() == name)?;
        let metric = family.get_metric().iter().find(|metric| {
            let mut labels = metric.get_label().iter();
            labels.any(|of| of.name() == label && of.value() == value)
        })?;
        Some(metric.get_gauge().get_value())
    }

    /// Waits until it is shown when a certificate of this kind ends.
    pub async fn expires(&self, whose: &str) {
        let name = "floorgate_certificate_expires_timestamp_seconds";
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.gauge_of(name, "whose", whose).is_none() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "it is not shown of {whose}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a gauge of the source has a value.
    pub async fn gauge(&self, name: &str, wanted: f64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.gauge_of(name, "source", "plc") != Some(wanted) {
            assert!(tokio::time::Instant::now() < deadline, "{name} is not {wanted}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Everything so far.
    pub fn log(&self) -> &[Seen] {
        &self.log
    }

    /// Waits until no key is made any more: a thread of its own does that, which would go on in a folder that is gone.
    async fn has_key(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.certificate.exists() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it without a word.
    pub async fn kill(self) {
        self.has_key().await;
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn stop(self) {
        self.has_key().await;
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task)
            .await
            .expect("the source stops when it is told to")
            .expect("the source does not panic");
    }
}
