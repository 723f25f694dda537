//! What of the certificates that a source needs comes to its end: looked at from its start on, whether it is connected or not.

use std::convert::Infallible;
use std::sync::Arc;

use floorgate_adapter_api::{Expiry, SourceMetrics, Whose, signers, watch_expiry};
use tokio::sync::watch;

use crate::connection::Certificates;
use crate::pki::{self, Certificate};
use crate::plan::{Credentials, Plan};
use crate::settings::Policy;

/// Shows when certificates end, and tells it ahead. What was used by the last connection comes in.
pub async fn watch(
    plan: Arc<Plan>,
    metrics: SourceMetrics,
    used: watch::Receiver<Option<Certificates>>,
) -> Infallible {
    let name = plan.name.clone();
    let look = move |used: &Option<Certificates>| look(&plan, used.as_ref());
    watch_expiry(&metrics, used, look, |expiry, days_left| {
        tell(&name, expiry, days_left);
    })
    .await
}

fn tell(source: &str, expiry: &Expiry, days_left: i64) {
    let Expiry { what, ends, cure, .. } = expiry;
    if expiry.is_urgent(days_left) {
        tracing::error!(
            source,
            days_left,
            see = "opcua-certificate-expires",
            "{what} ends at {ends}: {cure}"
        );
    } else {
        tracing::warn!(
            source,
            days_left,
            see = "opcua-certificate-expires",
            "{what} ends at {ends}: {cure}"
        );
    }
}

/// All that this source needs and that ends. What cannot be read is not among it: the next connection tells that.
fn look(plan: &Plan, used: Option<&Certificates>) -> Vec<Expiry> {
    let mut all = Vec::new();
    if let Credentials::Certificate { certificate, .. } = &plan.credentials
        && let Some(ends) = pki::ends(certificate)
    {
        all.push(Expiry {
            whose: Whose::User,
            what: format!("the certificate of the login ({})", certificate.display()),
            ends,
            cure: "have a new one made, and put it in the place of this one",
        });
    }
    if plan.settings.security.policy == Policy::None {
        return all;
    }
    let contents = match pki::show(&plan.pki) {
        Ok(contents) => contents,
        Err(error) => {
            tracing::debug!("certificates cannot be looked at: {error}");
            return all;
        }
    };
    if let Some(own) = &contents.own {
        all.push(Expiry {
            whose: Whose::Gateway,
            what: "the gateway's certificate".to_owned(),
            ends: own.valid_to,
            cure: "`floorgate pki renew`, and have the servers trust the new one",
        });
    }
    if let Some(before) = used.filter(|used| !used.is_present) {
        all.push(Expiry {
            whose: Whose::Gateway,
            what: "the gateway's certificate before the last renewal, which is used with this server,"
                .to_owned(),
            ends: before.own.valid_to,
            cure: "have the server trust the new one",
        });
    }
    if let Some(ends) = used.and_then(|used| used.server_valid_to) {
        all.push(Expiry {
            whose: Whose::Server,
            what: "the server's certificate".to_owned(),
            ends,
            cure: "have the server's owner renew it",
        });
    }
    if !plan.settings.trust_any_server_certificate {
        all.extend(of_authorities(
            &contents,
            used,
            plan.settings.allow_unknown_revocation,
        ));
    }
    all
}

/// The authorities that the server's certificate hangs on, and their revocation lists: all of the folder as long as the server was not seen.
fn of_authorities(
    contents: &pki::Contents,
    used: Option<&Certificates>,
    allow_unknown_revocation: bool,
) -> Vec<Expiry> {
    let known = || contents.trusted.iter().chain(&contents.issuers);
    let authorities: Vec<&Certificate> = known().filter(|known| known.is_authority).collect();
    let signed: Vec<(&str, &str)> = authorities
        .iter()
        .map(|authority| (authority.subject.as_str(), authority.issuer.as_str()))
        .collect();
    let needed = used.map(|used| signers(used.signer.as_deref(), &signed));
    let is_needed = |name: &str| needed.as_ref().is_none_or(|needed| needed.contains(name));
    let mut all = Vec::new();
    for authority in authorities {
        if is_needed(&authority.subject) {
            all.push(Expiry {
                whose: Whose::Authority,
                what: format!(
                    "the certificate of the authority {} ({})",
                    authority.subject,
                    authority.path.display()
                ),
                ends: authority.valid_to,
                cure: "`floorgate pki trust FILE` with its new one, then `floorgate pki reject` this one",
            });
        }
    }
    for list in &contents.lists {
        if let Some(ends) = list.next_update
            && is_needed(&list.issuer)
            && !allow_unknown_revocation
        {
            all.push(Expiry {
                whose: Whose::RevocationList,
                what: format!("the revocation list of {} ({})", list.issuer, list.path.display()),
                ends,
                cure: "get the next one, and `floorgate pki trust FILE.crl`",
            });
        }
    }
    all
}

#[cfg(test)]
#[path = "expiry_tests.rs"]
mod tests;
