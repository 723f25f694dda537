//! From configuration to a running source.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use floorgate_metrics::SourceMetrics;
use floorgate_sample::{Happening, Quality, Reason, TagId};
use floorgate_yaml::{Node, Problems, Span};
use schemars::{Schema, SchemaGenerator};
use tokio_util::sync::CancellationToken;

use crate::{Bookmarks, Given, Intake, NoCredentials, Requests};

/// A protocol.
pub trait Adapter: Send + Sync {
    /// The word after `adapter:` in the configuration.
    fn name(&self) -> &'static str;

    /// JSON Schema of a source's settings (without `adapter`).
    fn settings_schema(&self, generator: &mut SchemaGenerator) -> Schema;

    /// JSON Schema of a tag's address (the keys of a tag that are the adapter's own).
    fn address_schema(&self, generator: &mut SchemaGenerator) -> Schema;

    /// The keys of a tag that are this adapter's own; the mapping keeps the others.
    fn address_keys(&self) -> &'static [&'static str];

    /// Whether its devices say when a value came to be.
    fn has_source_time(&self) -> bool {
        true
    }

    /// What the values of a tag are, as far as its address says so: the mapping's use of the tag is held against it. `None` where the
    /// device alone knows, and where the address is wrong, which [`Adapter::plan`] reports. Keys that are not the adapter's own may
    /// stand beside those that are.
    fn gives(&self, address: &Node) -> Option<Given> {
        let _ = address;
        None
    }

    /// What a tag's values are that is no state, where its address says so. Keys that are not the adapter's own may stand beside those that are.
    fn happens(&self, address: &Node) -> Option<Happening> {
        let _ = address;
        None
    }

    /// Why a tag is not good, for whoever looks at it: the device's own words for a quality that sources of this adapter tell, or what such
    /// a quality stands for, and the paragraph of the runbook about it. `None` where there is nothing to add to `bad`.
    fn reason(&self, quality: Quality) -> Option<Reason> {
        let _ = quality;
        None
    }

    /// The paragraph of the runbook about something that the gateway itself says of a source of this adapter that is online. `None` where
    /// there is none, or sources of this adapter never come to it.
    fn see(&self, finding: Finding) -> Option<&'static str> {
        let _ = finding;
        None
    }

    /// The paragraphs for whoever is called at night, in Markdown: a heading `## NAME` for each message of the log, named by its field `see`, for each
    /// [`Reason`], named by [`Reason::see`], and for what [`Adapter::see`] names. Empty where nothing is logged.
    fn runbook(&self) -> &'static str {
        ""
    }

    /// Checks settings and addresses and lays out the work, without opening anything. Everything wrong is
    /// recorded; `None` where anything was.
    fn plan(&self, spec: SourceSpec<'_>, problems: &mut Problems) -> Option<Box<dyn Source>>;
}

/// What the gateway says of a source that is online, made of what its adapter told in [`SourceMetrics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The server says of itself that it is not well.
    NotHealthy,
    /// Of settings it gives less than they ask for.
    LessThanAsked,
    /// It refuses tags.
    RefusedTags,
}

/// What the configuration says of one source.
#[derive(Debug)]
pub struct SourceSpec<'a> {
    /// Its name, unique in the configuration.
    pub name: &'a str,
    /// Its settings, without `adapter`.
    pub settings: &'a Node,
    /// Its tags.
    pub tags: Vec<TagSpec<'a>>,
    /// The sets of its tags that are read together when they are asked for.
    pub snapshots: Vec<SnapshotSpec<'a>>,
    /// The folder that relative paths in the settings start from.
    pub base: &'a Path,
    /// The gateway's own folder (`state_dir`), where an adapter keeps keys and certificates.
    pub state: &'a Path,
}

/// What the configuration says of one tag.
#[derive(Debug)]
pub struct TagSpec<'a> {
    /// Its number in the plan.
    pub id: TagId,
    /// Its full name, for messages: `mapping/instance/tag`.
    pub name: &'a str,
    /// A mapping node with the adapter's own keys.
    pub address: &'a Node,
    /// The tag is read only when it is asked for: it is neither subscribed nor polled, and no sample of it comes by itself.
    pub on_demand: bool,
}

/// Tags that one request will ask for, so that an adapter which cannot read them together says so in [`Adapter::plan`].
#[derive(Clone, Debug)]
pub struct SnapshotSpec<'a> {
    /// The tags, each once; they are among [`SourceSpec::tags`].
    pub tags: Vec<TagId>,
    /// Where the mapping asks for them.
    pub at: Span,
    /// The rule that asks, for messages.
    pub rule: &'a str,
}

/// The task of a running source.
pub type RunFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A file that a source's settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The setting.
    pub setting: &'static str,
    /// Where the settings name it.
    pub at: Span,
    /// The file, or the credential that this process was not given.
    pub path: Result<PathBuf, NoCredentials>,
}

/// A source that is laid out and not yet started.
pub trait Source: Send {
    /// The files that it will read and that the settings name, so that one that is not there is told before anything starts.
    fn files(&self) -> Vec<NamedFile> {
        Vec::new()
    }

    /// Connects and reads until `context.stop` is cancelled, then disconnects and returns. It may be called
    /// again on the same source after the future ended or was dropped (a panic in it, for example).
    fn run(&self, context: SourceContext) -> RunFuture;
}

/// What a running source is given.
#[derive(Clone, Debug)]
pub struct SourceContext {
    /// The source's name, for logs.
    pub name: String,
    /// Where samples go.
    pub intake: Intake,
    /// Where an earlier process, or an earlier configuration, left off. None where that is not known to be all that was stored.
    pub bookmarks: Bookmarks,
    /// Cancelled when the gateway stops or the source is reconfigured.
    pub stop: CancellationToken,
    /// What the gateway asks the source for. After a panic the next run goes on with what waits.
    pub requests: Requests,
    /// The source's metrics.
    pub metrics: SourceMetrics,
}
