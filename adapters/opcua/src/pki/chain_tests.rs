use std::fs;

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
    date_time_ymd,
};

use super::super::tests::Folder;
use super::super::tests::authority::{authority_params, list_params, params};
use super::super::{Acceptance, Accepted, PkiError, Trusted, check_server, own, reject, show, trust};

/// The application of all servers here.
const PLC: &str = "urn:plc";

/// An authority, and how it signs.
struct Signer {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

/// An authority that signed itself.
fn root(params: CertificateParams) -> Signer {
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Signer {
        issuer: Issuer::new(params, key),
        der,
    }
}

impl Signer {
    /// An authority below this one.
    fn below(&self, params: CertificateParams) -> Signer {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Signer {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    /// The certificate of a server, with this serial number.
    fn server(&self, serial: u64) -> Vec<u8> {
        let mut params = params("plc");
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![SanType::URI(PLC.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().to_vec()
    }

    /// A revocation list with these serial numbers, which is to be replaced in that year.
    fn list(&self, revoked: &[u64], until: i32) -> Vec<u8> {
        let revoked = revoked.iter().copied().map(SerialNumber::from);
        let params = list_params(1, revoked, until);
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// The gateway's folder.
struct Trust(Folder);

impl Trust {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        own(&folder.0.join("pki"), true).unwrap();
        Self(folder)
    }

    /// Takes a file as an operator does.
    fn take(&self, name: &str, bytes: &[u8], issuer: bool) -> Result<Trusted, PkiError> {
        let file = self.0.0.join(name);
        fs::write(&file, bytes).unwrap();
        trust(&self.0.0.join("pki"), file.to_str().unwrap(), issuer)
    }

    fn trusts(&self, der: &[u8]) {
        self.take("trusted.der", der, false).unwrap();
    }

    fn check(&self, presented: &[u8]) -> Result<Accepted, PkiError> {
        check_server(&self.0.0.join("pki"), presented, PLC, Acceptance::default())
    }

    fn check_laxly(&self, presented: &[u8]) -> Result<Accepted, PkiError> {
        let acceptance = Acceptance {
            unknown_revocation: true,
            once: None,
        };
        check_server(&self.0.0.join("pki"), presented, PLC, acceptance)
    }
}

#[test]
fn a_server_of_a_trusted_authority_is_accepted_unless_it_was_revoked() {
    let trust = Trust::new("authority");
    let ca = root(authority_params("Plant CA"));
    let server = ca.server(7);
    let error = trust.check(&server).unwrap_err();
    assert!(
        error.to_string().contains("signed by CN=Plant CA") && matches!(error, PkiError::Untrusted { .. }),
        "{error}"
    );
    trust.trusts(&ca.der);
    let error = trust.check(&server).unwrap_err();
    assert!(
        matches!(&error, PkiError::NoList { authorities, .. } if authorities == "CN=Plant CA"),
        "{error}"
    );
    assert!(!trust.check_laxly(&server).unwrap().by_itself);
    trust.take("ca.crl", &ca.list(&[8], 2100), false).unwrap();
    let accepted = trust.check(&server).unwrap();
    assert!(!accepted.by_itself);
    assert!(show(&trust.0.0.join("pki")).unwrap().rejected.is_empty());

    // A newer list takes the place of the one before.
    let pem = format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        base64(&ca.list(&[7, 8], 2100))
    );
    trust.take("newer.crl", pem.as_bytes(), false).unwrap();
    assert_eq!(show(&trust.0.0.join("pki")).unwrap().lists.len(), 1);
    for checked in [trust.check(&server), trust.check_laxly(&server)] {
        assert!(matches!(checked, Err(PkiError::Revoked { .. })), "{checked:?}");
    }
    // Also where somebody vouches for the certificate itself.
    trust.trusts(&server);
    assert!(matches!(trust.check(&server), Err(PkiError::Revoked { .. })));
}

fn base64(bytes: &[u8]) -> String {
    use opcua::types::ByteString;
    let text = ByteString::from(bytes.to_vec()).as_base64();
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    lines.join("\n")
}

#[test]
fn a_certificate_that_is_trusted_itself_needs_no_authority() {
    let trust = Trust::new("itself");
    let server = root(authority_params("Plant CA")).server(7);
    trust.trusts(&server);
    assert!(trust.check(&server).unwrap().by_itself);
}

#[test]
fn a_list_that_is_out_of_date_is_as_good_as_none() {
    let trust = Trust::new("old");
    let ca = root(authority_params("Plant CA"));
    let server = ca.server(7);
    trust.trusts(&ca.der);
    trust.take("old.crl", &ca.list(&[9], 2025), false).unwrap();
    let error = trust.check(&server).unwrap_err();
    assert!(
        matches!(&error, PkiError::OldList { authorities, .. } if authorities == "CN=Plant CA"),
        "{error}"
    );
    trust.check_laxly(&server).unwrap();
    trust.take("old.crl", &ca.list(&[7], 2025), false).unwrap();
    let checked = trust.check_laxly(&server);
    assert!(
        matches!(checked, Err(PkiError::Revoked { .. })),
        "what it names stays revoked: {checked:?}"
    );
}

#[test]
fn an_issuer_completes_chains_and_is_not_trusted_by_that() {
    let trust = Trust::new("chain");
    let top = root(authority_params("Group CA"));
    let between = top.below(authority_params("Plant CA"));
    let server = between.server(7);
    trust.take("top.der", &top.der, true).unwrap();
    trust.take("between.der", &between.der, true).unwrap();
    for signer in [&top, &between] {
        trust.take("list.crl", &signer.list(&[], 2100), false).unwrap();
    }
    let checked = trust.check(&server);
    assert!(
        matches!(checked, Err(PkiError::Untrusted { .. })),
        "nobody said that any of them is trusted: {checked:?}"
    );
    trust.trusts(&between.der);
    trust.check(&server).unwrap();

    // Without the authority above it the chain has no end.
    let pki = trust.0.0.join("pki");
    let top_one = show(&pki)
        .unwrap()
        .issuers
        .into_iter()
        .find(|c| c.subject == "CN=Group CA");
    reject(&pki, &top_one.unwrap().thumbprint).unwrap();
    let checked = trust.check(&server);
    assert!(matches!(checked, Err(PkiError::Untrusted { .. })), "{checked:?}");
    trust.trusts(&top.der);
    trust.check(&server).unwrap();

    // The authority above takes it away again.
    let number = x509_cert::der::Decode::from_der(&between.der);
    let number: x509_cert::Certificate = number.unwrap();
    let serial = number.tbs_certificate.serial_number.as_bytes().to_vec();
    let params = list_params(2, [SerialNumber::from(serial)], 2100);
    let list = params.signed_by(&top.issuer).unwrap().der().to_vec();
    trust.take("list.crl", &list, false).unwrap();
    let checked = trust.check(&server);
    assert!(matches!(checked, Err(PkiError::Revoked { .. })), "{checked:?}");
}

#[test]
fn what_is_no_authority_signs_nobody() {
    let trust = Trust::new("pretender");
    // A server's certificate that is trusted, and signed another one.
    let ca = root(authority_params("Plant CA"));
    let pretender = ca.below(params("pretender"));
    // An authority whose key is not to sign certificates.
    let mut no_signer = authority_params("Lists only");
    no_signer.key_usages = vec![KeyUsagePurpose::CrlSign];
    let no_signer = root(no_signer);
    // One that was an authority.
    let mut expired = authority_params("Old CA");
    (expired.not_before, expired.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    let expired = root(expired);
    for signer in [&ca, &no_signer, &expired] {
        trust.trusts(&signer.der);
        trust.take("list.crl", &signer.list(&[], 2100), false).unwrap();
    }
    trust.trusts(&pretender.der);
    trust.check(&ca.server(1)).unwrap();
    for signer in [&pretender, &no_signer, &expired] {
        let checked = trust.check_laxly(&signer.server(7));
        assert!(
            matches!(checked, Err(PkiError::Untrusted { .. } | PkiError::Chain { .. })),
            "{checked:?}"
        );
    }
    let refused = trust.take("server.der", &pretender.der, true);
    assert!(matches!(refused, Err(PkiError::NoAuthority(_))), "{refused:?}");
}

#[test]
fn a_name_alone_is_nothing() {
    let trust = Trust::new("forged");
    let (ca, forger) = (
        root(authority_params("Plant CA")),
        root(authority_params("Plant CA")),
    );
    trust.trusts(&ca.der);
    trust.take("list.crl", &ca.list(&[], 2100), false).unwrap();
    let checked = trust.check(&forger.server(7));
    assert!(
        matches!(checked, Err(PkiError::Chain { .. } | PkiError::Untrusted { .. })),
        "{checked:?}"
    );
    // Presented along with the certificate the forger's own authority is material for chains, and not trusted.
    let along = [forger.server(7), forger.der.clone()].concat();
    let checked = trust.check(&along);
    assert!(
        matches!(checked, Err(PkiError::Chain { .. } | PkiError::Untrusted { .. })),
        "{checked:?}"
    );
    // Nobody else can say what an authority revoked.
    trust.take("list.crl", &forger.list(&[], 2100), false).unwrap();
    assert!(trust.check(&ca.server(7)).is_err());
}

#[test]
fn a_server_that_sends_its_authorities_along_is_told_why_it_cannot_be_read() {
    let trust = Trust::new("along");
    let ca = root(authority_params("Plant CA"));
    trust.trusts(&ca.der);
    trust.take("list.crl", &ca.list(&[], 2100), false).unwrap();
    let checked = trust.check(&[ca.server(7), ca.der.clone()].concat());
    assert!(matches!(checked, Err(PkiError::Along { .. })), "{checked:?}");
}
