//! `floorgate pki`: the gateway's own certificate, and which servers it trusts.

use std::path::{Path, PathBuf};

use crate::check::read_place;
use crate::cli::PkiCommand;
use crate::registry::pki::{self, Certificate, PkiError};

/// Runs a `pki` command.
pub fn pki(command: &PkiCommand) -> anyhow::Result<()> {
    match command {
        PkiCommand::Init(arguments) => {
            let folder = folder(&arguments.config)?;
            match pki::init(&folder, &pki::default_application_uri(), &[]) {
                Ok(certificate) => {
                    print("made", &certificate);
                    println!("\nTrust this certificate on every OPC UA server that the gateway reads.");
                }
                Err(PkiError::Exists(path)) => {
                    println!(
                        "{} is there already; `floorgate pki show` shows it",
                        path.display()
                    );
                }
                Err(problem) => return Err(problem.into()),
            }
        }
        PkiCommand::Show(arguments) => {
            let folder = folder(&arguments.config)?;
            let contents = pki::show(&folder)?;
            match &contents.own {
                Some(own) => {
                    print("own", own);
                    println!(
                        "          application {}",
                        contents.application_uri.as_deref().unwrap_or("unknown")
                    );
                    println!("          key         {}", contents.key.display());
                }
                None => println!("own       none yet; `floorgate pki init` makes it, or the first start"),
            }
            for certificate in &contents.trusted {
                print("trusted", certificate);
            }
            for certificate in &contents.rejected {
                print("refused", certificate);
                println!(
                    "          to trust it: floorgate pki trust {}",
                    certificate.thumbprint
                );
            }
        }
        PkiCommand::Trust { certificate, config } => {
            let folder = folder(&config.config)?;
            print("trusted", &pki::trust(&folder, certificate)?);
        }
    }
    Ok(())
}

fn folder(config: &Path) -> anyhow::Result<PathBuf> {
    // Servers are looked at, and trusted, before there is a mapping.
    Ok(read_place(config, None)?.state.join("pki"))
}

fn print(what: &str, certificate: &Certificate) {
    println!("{what:<9} thumbprint  {}", certificate.thumbprint);
    println!("          subject     {}", certificate.subject);
    println!(
        "          valid       {} to {}",
        certificate.valid_from, certificate.valid_to
    );
    println!("          file        {}", certificate.path.display());
}
