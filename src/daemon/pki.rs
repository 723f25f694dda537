//! `floorgate pki`: the gateway's own certificate, and which servers it trusts.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use floorgate_adapter_api::Timestamp;
use serde_json::json;

use crate::check::read_place;
use crate::cli::ConfigArgs;
use crate::printing::print;
use crate::registry::pki::{self, Certificate, Contents, PkiError, RevocationList, Trusted};
use crate::runbook::told;
use crate::table::write_table;

/// What is done with keys and certificates.
#[derive(Debug, Subcommand)]
pub enum PkiCommand {
    /// Make the gateway's key and certificate, unless they are there.
    #[command(after_help = "Example: sudo -u floorgate floorgate pki init")]
    Init(PkiPlace),
    /// Show the own certificate, the trusted servers, and those that were refused with what to do.
    #[command(after_help = "Example: sudo -u floorgate floorgate pki show")]
    Show(PkiPlace),
    /// List all certificates and revocation lists with their thumbprints and the days that are left.
    #[command(
        after_help = "Examples:\n  floorgate pki list\n  floorgate pki list --json | jq '.certificates[] | select(.daysLeft < 30)'"
    )]
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PkiPlace,
    },
    /// Trust a server whose certificate was refused, a server or an authority by its certificate's file, or take a revocation list.
    #[command(
        after_help = "Examples:\n  floorgate pki trust 3a5f…  (the thumbprint that `pki show` prints; its beginning is enough)\n  floorgate pki trust plant-ca.der\n  floorgate pki trust plant-ca.crl\n  floorgate pki trust group-ca.pem --issuer"
    )]
    Trust {
        /// Thumbprint (or its beginning), or a file: a certificate or a revocation list, DER or PEM.
        certificate: String,
        /// The authority in the file only completes chains, and is not trusted itself.
        #[arg(long)]
        issuer: bool,
        #[command(flatten)]
        place: PkiPlace,
    },
    /// Trust a server or an authority no more. A gateway that runs ends such connections.
    #[command(
        after_help = "Example: floorgate pki reject 3a5f…  (the thumbprint that `pki list` prints; its beginning is enough)"
    )]
    Reject {
        /// Thumbprint (or its beginning).
        thumbprint: String,
        #[command(flatten)]
        place: PkiPlace,
    },
    /// Make a new certificate for the gateway.
    ///
    /// It is for the same application and hosts, and valid for five years. A gateway that runs takes it at once, without a stop; with a server that
    /// refuses it, the one before is used as long as it is valid.
    #[command(after_help = "Example: sudo -u floorgate floorgate pki renew")]
    Renew {
        /// With a new private key, too.
        #[arg(long)]
        new_key: bool,
        #[command(flatten)]
        place: PkiPlace,
    },
}

/// Where keys and certificates are.
#[derive(Debug, Args)]
pub struct PkiPlace {
    #[command(flatten)]
    config: ConfigArgs,
    /// The gateway's folder, in place of the settings' `state_dir`.
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
}

impl PkiPlace {
    fn folder(&self) -> anyhow::Result<PathBuf> {
        let state = match &self.state_dir {
            Some(folder) => folder.clone(),
            // Servers are looked at, and trusted, before there is a mapping.
            None => read_place(&self.config.config, None)?.state,
        };
        Ok(state.join("pki"))
    }
}

/// Runs a `pki` command.
pub fn pki(command: &PkiCommand) -> anyhow::Result<()> {
    run(command).map_err(|error| match error.downcast_ref::<PkiError>() {
        Some(problem) => told(&format!("{error:#}"), Some(problem.see())),
        None => error,
    })
}

fn run(command: &PkiCommand) -> anyhow::Result<()> {
    match command {
        PkiCommand::Init(place) => match pki::init(&place.folder()?, &pki::default_application_uri(), &[]) {
            Ok(certificate) => {
                tell("made", &certificate)?;
                print("\nTrust this certificate on every OPC UA server that the gateway reads.\n")?;
            }
            Err(PkiError::Exists(path)) => print(&format!(
                "{} is there already; `floorgate pki show` shows it\n",
                path.display()
            ))?,
            Err(problem) => return Err(problem.into()),
        },
        PkiCommand::Show(place) => show(&pki::show(&place.folder()?)?)?,
        PkiCommand::List { json, place } => list(&pki::show(&place.folder()?)?, *json)?,
        PkiCommand::Trust {
            certificate,
            issuer,
            place,
        } => match pki::trust(&place.folder()?, certificate, *issuer)? {
            Trusted::Certificate(certificate) => {
                tell(if *issuer { "issuer" } else { "trusted" }, &certificate)?;
                if certificate.is_authority {
                    print(
                        "          an authority: it needs a revocation list, `floorgate pki trust FILE.crl`\n",
                    )?;
                }
            }
            Trusted::List(list) => tell_list(&list)?,
        },
        PkiCommand::Reject { thumbprint, place } => {
            tell("refused", &pki::reject(&place.folder()?, thumbprint)?)?;
        }
        PkiCommand::Renew { new_key, place } => {
            let renewed = pki::renew(&place.folder()?, *new_key)?;
            tell("made", &renewed.certificate)?;
            tell("previous", &renewed.previous)?;
            print(&format!(
                "\nHave each server trust {}. Until then the gateway uses the previous one with it, which is kept until {} or the next `renew`.\n",
                renewed.certificate.path.display(),
                renewed.previous.valid_to
            ))?;
        }
    }
    Ok(())
}

fn show(contents: &Contents) -> anyhow::Result<()> {
    match &contents.own {
        Some(own) => {
            tell("own", own)?;
            print(&format!(
                "          application {}\n          key         {}\n",
                contents.application_uri.as_deref().unwrap_or("unknown"),
                contents.key.display()
            ))?;
        }
        None => print("own       none yet; `floorgate pki init` makes it, or the first start\n")?,
    }
    if let Some(certificate) = &contents.previous {
        tell("previous", certificate)?;
    }
    for certificate in &contents.trusted {
        tell("trusted", certificate)?;
    }
    for certificate in &contents.issuers {
        tell("issuer", certificate)?;
    }
    for list in &contents.lists {
        tell_list(list)?;
    }
    for certificate in &contents.rejected {
        tell("refused", certificate)?;
        print(&format!(
            "          to trust it: floorgate pki trust {}\n",
            certificate.thumbprint
        ))?;
        if certificate.issuer != certificate.subject {
            print(&format!(
                "          or the authority that signed it ({}): floorgate pki trust FILE\n",
                certificate.issuer
            ))?;
        }
    }
    Ok(())
}

fn tell(what: &str, certificate: &Certificate) -> io::Result<()> {
    print(&format!(
        "{what:<9} thumbprint  {}\n          subject     {}\n          valid       {} to {}\n          file        {}\n",
        certificate.thumbprint,
        crate::plain::plain(&certificate.subject),
        certificate.valid_from,
        certificate.valid_to,
        certificate.path.display()
    ))
}

fn tell_list(list: &RevocationList) -> io::Result<()> {
    let next = list
        .next_update
        .map_or_else(|| "not said".to_owned(), |time| time.to_string());
    print(&format!(
        "list      of          {}\n          revoked     {}\n          next one    {next}\n          file        {}\n",
        crate::plain::plain(&list.issuer),
        list.revoked,
        list.path.display()
    ))
}

/// All certificates with what each is to the gateway.
fn all(contents: &Contents) -> Vec<(&'static str, &Certificate)> {
    let mut all = Vec::new();
    all.extend(contents.own.iter().map(|c| ("own", c)));
    all.extend(contents.previous.iter().map(|c| ("previous", c)));
    all.extend(contents.trusted.iter().map(|c| ("trusted", c)));
    all.extend(contents.issuers.iter().map(|c| ("issuer", c)));
    all.extend(contents.rejected.iter().map(|c| ("rejected", c)));
    all
}

fn list(contents: &Contents, as_json: bool) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let days = |until: Timestamp| pki::days_left(until, now);
    if as_json {
        let certificates = all(contents).into_iter().map(|(what, c)| {
            json!({"kind": what, "thumbprint": c.thumbprint, "subject": c.subject, "issuer": c.issuer, "authority": c.is_authority,
                "validFrom": c.valid_from.to_string(), "validTo": c.valid_to.to_string(), "daysLeft": days(c.valid_to), "file": c.path})
        });
        let lists = contents.lists.iter().map(|list| {
            json!({"issuer": list.issuer, "revoked": list.revoked, "nextUpdate": list.next_update.map(|time| time.to_string()),
                "daysLeft": list.next_update.map(days), "file": list.path})
        });
        let all = json!({"certificates": certificates.collect::<Vec<_>>(), "revocationLists": lists.collect::<Vec<_>>()});
        return Ok(print(&format!("{all}\n"))?);
    }
    let mut table = vec![["KIND", "THUMBPRINT", "DAYS LEFT", "VALID TO", "SUBJECT"].map(str::to_owned)];
    for (what, certificate) in all(contents) {
        table.push([
            what.to_owned(),
            certificate.thumbprint.clone(),
            days(certificate.valid_to).to_string(),
            certificate.valid_to.to_string(),
            certificate.subject.clone(),
        ]);
    }
    for list in &contents.lists {
        let next = list.next_update;
        table.push([
            "list".to_owned(),
            format!("{} revoked", list.revoked),
            next.map_or_else(String::new, |next| days(next).to_string()),
            next.map_or_else(String::new, |next| next.to_string()),
            list.issuer.clone(),
        ]);
    }
    let mut text = Vec::new();
    write_table(&mut text, &table)?;
    let text = String::from_utf8(text)?;
    let soon = all(contents)
        .into_iter()
        .filter(|(what, c)| *what != "rejected" && days(c.valid_to) < pki::WARN_DAYS)
        .count();
    print(&text)?;
    if soon > 0 && io::stdout().is_terminal() {
        print(&format!(
            "\n{soon} of them end within {} days or have ended\n",
            pki::WARN_DAYS
        ))?;
    }
    Ok(())
}
