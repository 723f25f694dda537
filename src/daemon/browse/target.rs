//! Which server is looked at, and how: by flags, or as a source of the settings.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use floorgate_adapter_api::{Node, SourceSpec};
use floorgate_yaml::{Problems, parse};

use crate::check::{read_place, refuse};
use crate::registry::browse::{BrowseError, BrowseOptions, Browser};
use crate::registry::pki;
use crate::runbook::told;

/// The server, and who the gateway is to it.
#[derive(Debug, clap::Args)]
pub struct TargetArgs {
    /// The server, `opc.tcp://HOST:PORT/PATH`.
    #[arg(required_unless_present = "source")]
    pub endpoint: Option<String>,
    /// The settings: `state_dir` has the key and the trusted certificates.
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "FLOORGATE_CONFIG",
        conflicts_with = "state_dir"
    )]
    pub config: Option<PathBuf>,
    /// Look at this source of the settings, with its security and login.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["state_dir", "endpoint", "security_policy", "security_mode", "user", "password_file"]
    )]
    pub source: Option<String>,
    /// The folder with the key and the trusted certificates, in place of settings.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Security policy.
    #[arg(long, value_enum, default_value_t)]
    pub security_policy: Policy,
    /// Whether messages are signed and encrypted; `none` goes with policy `none` alone.
    #[arg(long, value_enum)]
    pub security_mode: Option<Mode>,
    /// User name.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// File with the user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Send the password though the connection is not encrypted.
    #[arg(long, requires = "user")]
    pub send_password_in_clear: bool,
    /// Trust the server's certificate with this thumbprint, this once.
    #[arg(long, value_name = "THUMBPRINT")]
    pub trust: Option<String>,
}

/// Security policies (OPC 10000-7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// No security.
    None,
    /// `Basic256Sha256`.
    #[default]
    Basic256sha256,
    /// Aes128-Sha256-RsaOaep.
    #[value(name = "aes128-sha256-rsaoaep", alias = "aes128-sha256-rsa-oaep")]
    Aes128,
    /// Aes256-Sha256-RsaPss.
    #[value(name = "aes256-sha256-rsapss", alias = "aes256-sha256-rsa-pss")]
    Aes256,
}

/// Message security modes (OPC 10000-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Neither signed nor encrypted.
    None,
    /// Signed.
    Sign,
    /// Signed and encrypted.
    SignAndEncrypt,
}

/// A server that is to be looked at.
#[derive(Debug)]
pub struct Target {
    /// Its address.
    pub endpoint: String,
    settings: Node,
    problems: Problems,
    base: PathBuf,
    state: PathBuf,
    /// What `floorgate pki` needs to find the same folder; empty where it cannot.
    of_pki: String,
}

/// The settings that commands take unless they are told others.
const USUAL: &str = "config/floorgate.yaml";

/// Finds the server that is meant.
pub fn find(arguments: &TargetArgs) -> anyhow::Result<Target> {
    let mut problems = Problems::default();
    let usual = Path::new(USUAL);
    let config = arguments.config.as_deref();
    let config = config.or_else(|| {
        let is_meant = arguments.state_dir.is_none() && (arguments.source.is_some() || usual.exists());
        is_meant.then_some(usual)
    });
    let placed = match config {
        Some(config) => Some((config, read_place(config, arguments.source.as_deref())?)),
        None => None,
    };
    let (state, of_pki) = match (&arguments.state_dir, &placed) {
        (Some(folder), _) => (folder.clone(), String::new()),
        (None, Some((config, placed))) => (placed.state.clone(), format!(" --config {}", config.display())),
        (None, None) => bail!(
            "there is no {USUAL}, which says where the gateway's key and the certificates are that it trusts; name a folder for them: \
             floorgate browse {} --state-dir state, or settings that are elsewhere: --config FILE",
            arguments.endpoint.as_deref().unwrap_or_default()
        ),
    };
    if let Some((_, placed)) = &placed
        && let Some(source) = &placed.source
    {
        if source.adapter != "opcua" {
            bail!(
                "source `{}` has the adapter `{}`: `browse` looks at OPC UA servers",
                arguments.source.as_deref().unwrap_or_default(),
                source.adapter
            );
        }
        let endpoint = source.settings.get("endpoint").and_then(Node::as_text);
        return Ok(Target {
            endpoint: endpoint.unwrap_or_default().to_owned(),
            settings: source.settings.clone(),
            base: placed.base.clone(),
            problems,
            state,
            of_pki,
        });
    }
    let text = written(arguments)?;
    let file = problems.add_file(Path::new("command line"), text.clone());
    let Some(settings) = parse(file, &text, &mut problems) else {
        return refuse(&problems);
    };
    Ok(Target {
        endpoint: arguments.endpoint.clone().unwrap_or_default(),
        settings,
        problems,
        base: PathBuf::new(),
        state,
        of_pki,
    })
}

/// The flags as the settings of a source.
fn written(arguments: &TargetArgs) -> anyhow::Result<String> {
    let quoted = |text: &str| serde_json::to_string(text);
    let endpoint = arguments.endpoint.as_deref().unwrap_or_default();
    let mut text = format!("endpoint: {}\n", quoted(endpoint)?);
    let policy = arguments.security_policy;
    let mode = arguments.security_mode.unwrap_or(match policy {
        Policy::None => Mode::None,
        _ => Mode::SignAndEncrypt,
    });
    if policy != Policy::default() || mode != Mode::SignAndEncrypt {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        let (policy, mode) = (name(policy.to_possible_value()), name(mode.to_possible_value()));
        let _ = writeln!(text, "security: {{policy: {policy}, mode: {mode}}}");
    }
    if let (Some(user), Some(file)) = (&arguments.user, &arguments.password_file) {
        let file = file
            .to_str()
            .ok_or_else(|| anyhow!("{} is no text: rename the file", file.display()))?;
        let _ = writeln!(
            text,
            "login: {{user: {}, password_file: {}}}",
            quoted(user)?,
            quoted(file)?
        );
    }
    if arguments.send_password_in_clear {
        text.push_str("send_password_in_clear: true\n");
    }
    Ok(text)
}

impl Target {
    /// Checks the settings and makes what looks at the server.
    pub fn browser(&mut self, options: BrowseOptions) -> anyhow::Result<Browser> {
        let problems = &mut self.problems;
        let spec = SourceSpec {
            name: "browse",
            settings: &self.settings,
            tags: Vec::new(),
            snapshots: Vec::new(),
            base: &self.base,
            state: &self.state,
        };
        match Browser::new(&spec, options, problems)? {
            Some(browser) if !problems.has_errors() => Ok(browser),
            _ => refuse(problems),
        }
    }
}

/// The error with what can be done about it.
pub fn with_way_out(error: &BrowseError, target: &Target) -> anyhow::Error {
    let Some(thumbprint) = error.untrusted() else {
        return told(error, error.see());
    };
    let for_good = if target.of_pki.is_empty() {
        String::new()
    } else {
        format!(", or for good: floorgate pki trust {thumbprint}{}", target.of_pki)
    };
    let own = match pki::show(&target.state.join("pki")) {
        Ok(contents) => contents.own.map_or_else(String::new, |own| {
            format!("; the server has to trust {} as well", own.path.display())
        }),
        Err(_) => String::new(),
    };
    let way_out = format!(
        "the server's certificate {thumbprint} is not trusted: compare the thumbprint with the one that the server shows, then this once: \
         --trust {thumbprint}{for_good}{own}"
    );
    told(&way_out, error.see())
}
