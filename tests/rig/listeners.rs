//! The protected listeners of a broker.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;

use crate::authority::Authority;
use crate::folder::Folder;
use crate::ports::free_port;

/// A way to the broker that demands something of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// TLS; anybody is let in.
    Tls,
    /// TLS with a certificate of the right authority that was made for another host.
    OtherHost,
    /// TLS with a certificate that has expired, until [`crate::Kafka::renew_certificate`].
    Expired,
    /// TLS for clients that have a certificate of the authority; [`Listener::CLIENT`] is one.
    ClientCertificate,
    /// TLS, and SASL with PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 for [`Listener::USER`].
    Sasl,
}

impl Listener {
    /// The client that has a certificate.
    pub const CLIENT: &'static str = "client";
    /// The one user, and its password.
    pub const USER: (&'static str, &'static str) = ("line-gateway", "s3cret-Of-The-Line");

    const ALL: [Self; 5] = [
        Self::Tls,
        Self::OtherHost,
        Self::Expired,
        Self::ClientCertificate,
        Self::Sasl,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::OtherHost => "OTHERHOST",
            Self::Expired => "EXPIRED",
            Self::ClientCertificate => "CLIENTCERTIFICATE",
            Self::Sasl => "SASL",
        }
    }

    /// What its settings begin with in the broker's configuration.
    fn prefix(self) -> String {
        format!("listener.name.{}", self.name().to_lowercase())
    }

    /// The setting that says where its certificate is.
    pub(crate) fn place_of_certificate(self) -> String {
        self.prefix() + ".ssl.keystore.location"
    }

    /// The file with its certificate and key, which are one for the broker.
    pub(crate) fn store(self) -> String {
        format!("{}.pem", self.name().to_lowercase())
    }

    /// Whose certificate it shows.
    const fn certificate(self) -> &'static str {
        match self {
            Self::OtherHost => "elsewhere",
            _ => "broker",
        }
    }
}

/// One listener of each kind, and the authority whose certificates they show.
#[derive(Debug)]
pub(crate) struct Listeners {
    authority: Authority,
    ports: Vec<(Listener, u16)>,
}

impl Listeners {
    /// Makes the certificates and finds the ports.
    pub(crate) fn new() -> Result<Self> {
        let authority = Authority::new(&[
            "broker=localhost,127.0.0.1",
            "elsewhere=kafka.elsewhere.example",
            Listener::CLIENT,
        ])?;
        let ports = Listener::ALL
            .into_iter()
            .map(|listener| Ok((listener, free_port()?)))
            .collect::<Result<_>>()?;
        Ok(Self { authority, ports })
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn address(&self, listener: Listener) -> String {
        let port = self.ports.iter().find(|(known, _)| *known == listener);
        format!("127.0.0.1:{}", port.map_or(0, |(_, port)| *port))
    }

    /// What is appended to the broker's own `listeners`.
    pub(crate) fn addresses(&self) -> String {
        let addresses = self
            .ports
            .iter()
            .map(|(listener, port)| format!(",{}://127.0.0.1:{port}", listener.name()));
        addresses.collect()
    }

    /// The user for both kinds of SCRAM, which are stored when the data folder is formatted.
    pub(crate) fn scram_users() -> [String; 2] {
        let (user, password) = Listener::USER;
        ["256", "512"].map(|bits| format!("SCRAM-SHA-{bits}=[name={user},password={password}]"))
    }

    /// The lines of the broker's configuration; what they name is written to `folder`.
    pub(crate) fn settings(&self, folder: &Folder) -> Result<String> {
        let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        let mut settings = String::new();
        let authority = self.authority.certificate();
        for (listener, _) in &self.ports {
            let (name, certificate) = (listener.name(), listener.certificate());
            let protocol = if *listener == Listener::Sasl {
                "SASL_SSL"
            } else {
                "SSL"
            };
            write!(protocols, ",{name}:{protocol}")?;
            let shown = match listener {
                Listener::Expired => self.authority.expired_certificate_of(certificate),
                _ => self.authority.certificate_of(certificate),
            };
            let store = folder.write(
                &listener.store(),
                &[
                    fs::read_to_string(self.authority.key_of(certificate))?,
                    fs::read_to_string(shown)?,
                ]
                .concat(),
            )?;
            let prefix = listener.prefix();
            let place = listener.place_of_certificate();
            writeln!(settings, "{place}={}", store.display())?;
            for (key, value) in [
                ("ssl.keystore.type", "PEM".to_owned()),
                ("ssl.truststore.type", "PEM".to_owned()),
                ("ssl.truststore.location", authority.display().to_string()),
            ] {
                writeln!(settings, "{prefix}.{key}={value}")?;
            }
            match listener {
                Listener::ClientCertificate => writeln!(settings, "{prefix}.ssl.client.auth=required")?,
                Listener::Sasl => settings.push_str(&sasl(&prefix)),
                Listener::Tls | Listener::OtherHost | Listener::Expired => {}
            }
        }
        writeln!(settings, "listener.security.protocol.map={protocols}")?;
        writeln!(settings, "inter.broker.listener.name=PLAINTEXT")?;
        // Who comes without protection may do everything, others what they are not forbidden.
        writeln!(
            settings,
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        )?;
        writeln!(
            settings,
            "super.users=User:ANONYMOUS\nallow.everyone.if.no.acl.found=true"
        )?;
        Ok(settings)
    }
}

fn sasl(prefix: &str) -> String {
    const MODULES: &str = "org.apache.kafka.common.security";
    let (user, password) = Listener::USER;
    format!(
        "{prefix}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         {prefix}.plain.sasl.jaas.config={MODULES}.plain.PlainLoginModule required user_{user}=\"{password}\";\n\
         {prefix}.scram-sha-256.sasl.jaas.config={MODULES}.scram.ScramLoginModule required;\n\
         {prefix}.scram-sha-512.sasl.jaas.config={MODULES}.scram.ScramLoginModule required;\n"
    )
}
