//! What of the certificates of a TLS connection comes to its end: looked at from the source's start on, whether it is connected or not.

use std::convert::Infallible;

use floorgate_adapter_api::{Expiry, SourceMetrics, Timestamp, Whose, signers, watch_expiry};
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::tls::{Identity, certificates};

/// What a device presents: its certificate, and those of authorities behind it.
pub(crate) type Presented = Vec<CertificateDer<'static>>;

/// Shows when certificates end, and tells it ahead.
pub(crate) async fn watch(source: &str, metrics: &SourceMetrics, identity: Option<Identity>) -> Infallible {
    let Some(identity) = identity else {
        return std::future::pending().await;
    };
    let presented = identity.presented();
    let look = move |presented: &Presented| look(&identity, presented);
    watch_expiry(metrics, presented, look, |expiry, days_left| {
        tell(source, expiry, days_left);
    })
    .await
}

fn tell(source: &str, expiry: &Expiry, days_left: i64) {
    let Expiry { what, ends, cure, .. } = expiry;
    if expiry.is_urgent(days_left) {
        tracing::error!(
            source,
            days_left,
            see = "modbus-certificate-expires",
            "{what} ends at {ends}: {cure}"
        );
    } else {
        tracing::warn!(
            source,
            days_left,
            see = "modbus-certificate-expires",
            "{what} ends at {ends}: {cure}"
        );
    }
}

/// Who a certificate is, and until when.
struct Facts {
    subject: String,
    issuer: String,
    ends: Timestamp,
}

impl Facts {
    fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let tbs = Certificate::from_der(der).ok()?.tbs_certificate;
        let seconds = tbs.validity.not_after.to_unix_duration().as_secs();
        let nanos = i64::try_from(seconds).ok()?.saturating_mul(1_000_000_000);
        Some(Self {
            subject: tbs.subject.to_string(),
            issuer: tbs.issuer.to_string(),
            ends: Timestamp::from_nanos(nanos),
        })
    }

    fn all(certificates: &[CertificateDer<'_>]) -> Vec<Self> {
        certificates.iter().filter_map(Self::of).collect()
    }
}

/// All that the connection needs and that ends. A file that cannot be read is not among it: the next connection tells that.
fn look(identity: &Identity, presented: &Presented) -> Vec<Expiry> {
    let mut all = Vec::new();
    let file = identity.certificate();
    let own = Facts::all(&certificates(file).unwrap_or_default());
    for (place, facts) in own.iter().enumerate() {
        let what = if place == 0 {
            format!("the gateway's certificate ({})", file.display())
        } else {
            format!(
                "the certificate of {}, which goes with the gateway's ({}),",
                facts.subject,
                file.display()
            )
        };
        all.push(Expiry {
            whose: Whose::Gateway,
            what,
            ends: facts.ends,
            cure: "have a new one made, and put it with its key in the place of the old files",
        });
    }
    let device = Facts::all(presented);
    if let Some(device) = device.first() {
        all.push(Expiry {
            whose: Whose::Server,
            what: "the device's certificate".to_owned(),
            ends: device.ends,
            cure: "have the device's owner renew it",
        });
    }
    let file = identity.authorities();
    let authorities = Facts::all(&certificates(file).unwrap_or_default());
    let signed = device.iter().chain(&authorities);
    let signed: Vec<(&str, &str)> = signed
        .map(|facts| (facts.subject.as_str(), facts.issuer.as_str()))
        .collect();
    let needed = signers(device.first().map(|device| device.issuer.as_str()), &signed);
    for authority in &authorities {
        if device.is_empty() || needed.contains(authority.subject.as_str()) {
            all.push(Expiry {
                whose: Whose::Authority,
                what: format!(
                    "the certificate of the authority {} ({})",
                    authority.subject,
                    file.display()
                ),
                ends: authority.ends,
                cure: "put its new one into the file, and take this one out when the device's is signed by the new one",
            });
        }
    }
    all
}

#[cfg(test)]
#[path = "expiry_tests.rs"]
mod tests;
