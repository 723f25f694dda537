use std::os::unix::fs::PermissionsExt;

use opcua::crypto::CertificateStore;

use super::*;

#[path = "../tests/opcua/authority.rs"]
pub mod authority;

/// A folder that is removed with its test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("floorgate-pki-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn found(trusted: Trusted) -> Certificate {
    match trusted {
        Trusted::Certificate(certificate) => certificate,
        Trusted::List(list) => panic!("{list:?}"),
    }
}

/// The certificate of a server, made like a gateway's.
fn server(folder: &Folder) -> Vec<u8> {
    let dir = folder.0.join("server");
    let made = init(&dir, "urn:plc", &["plc1".to_owned()]).unwrap();
    fs::read(made.path).unwrap()
}

#[test]
fn a_made_key_is_private_and_the_certificate_carries_the_application() {
    let folder = Folder::new("make");
    let made = init(
        &folder.0,
        "urn:plant:gateway",
        &["gw1".to_owned(), "10.0.0.7".to_owned()],
    )
    .unwrap();
    let contents = show(&folder.0).unwrap();
    assert_eq!(contents.own, Some(made));
    assert_eq!(contents.application_uri.as_deref(), Some("urn:plant:gateway"));
    assert_eq!(
        fs::metadata(&contents.key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let key = fs::read_to_string(&contents.key).unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(CertificateStore::read_pkey(&contents.key).is_ok());
    assert!(matches!(
        init(&folder.0, "urn:other", &[]),
        Err(PkiError::Exists(_))
    ));
}

#[test]
fn a_first_start_makes_one_key_and_keeps_it() {
    let folder = Folder::new("own");
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let dir = folder.0.clone();
            std::thread::spawn(move || own(&dir, true).unwrap().application_uri)
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), default_application_uri());
    }
    let thumbprint = show(&folder.0).unwrap().own.unwrap().thumbprint;
    own(&folder.0, true).unwrap();
    assert_eq!(show(&folder.0).unwrap().own.unwrap().thumbprint, thumbprint);
}

#[test]
fn trust_is_given_by_thumbprint_and_by_file() {
    let folder = Folder::new("trust");
    let (dir, server) = (folder.0.join("pki"), server(&folder));
    own(&dir, true).unwrap();
    let error = check_server(&dir, &server, "urn:plc", Acceptance::default()).unwrap_err();
    let PkiError::Untrusted { thumbprint, .. } = &error else {
        panic!("{error}")
    };
    assert!(
        error
            .to_string()
            .contains(&format!("floorgate pki trust {thumbprint}"))
    );
    assert_eq!(show(&dir).unwrap().rejected.len(), 1);

    assert!(matches!(trust(&dir, "00ff", false), Err(PkiError::Unknown(_))));
    // As people paste it: upper case, with colons.
    let pasted: Vec<String> = thumbprint
        .to_uppercase()
        .as_bytes()
        .chunks(2)
        .map(|c| String::from_utf8_lossy(c).into())
        .collect();
    trust(&dir, &pasted.join(":"), false).unwrap();
    assert!(show(&dir).unwrap().rejected.is_empty());
    check_server(&dir, &server, "urn:plc", Acceptance::default()).unwrap();
    assert_eq!(
        found(trust(&dir, thumbprint, false).unwrap()).thumbprint,
        *thumbprint,
        "trusting twice is no mistake"
    );

    let other = folder.0.join("other");
    own(&other, true).unwrap();
    let file = folder.0.join("server/own/cert.der");
    trust(&other, file.to_str().unwrap(), false).unwrap();
    check_server(&other, &server, "urn:plc", Acceptance::default()).unwrap();
    assert!(file.exists(), "the file that was given is left alone");
}

#[test]
fn a_trusted_certificate_is_still_checked() {
    let folder = Folder::new("check");
    let (dir, server) = (folder.0.join("pki"), server(&folder));
    own(&dir, true).unwrap();
    trust(
        &dir,
        folder.0.join("server/own/cert.der").to_str().unwrap(),
        false,
    )
    .unwrap();
    let error = check_server(&dir, &server, "urn:someone-else", Acceptance::default()).unwrap_err();
    assert!(matches!(error, PkiError::Application { .. }), "{error}");

    let certificate = show(&dir).unwrap().trusted.remove(0);
    let late = certificate.valid_to.after(std::time::Duration::from_secs(1));
    assert!(validity("server's", &certificate, Timestamp::now()).is_ok());
    assert!(matches!(
        validity("server's", &certificate, late),
        Err(PkiError::Validity { .. })
    ));

    // Another certificate under the name of a trusted one is not trusted.
    fs::write(&certificate.path, b"something else").unwrap();
    assert!(matches!(
        check_server(&dir, &server, "urn:plc", Acceptance::default()),
        Err(PkiError::Untrusted { .. })
    ));
}

#[test]
fn rejected_certificates_cannot_fill_the_disk() {
    let folder = Folder::new("fill");
    let (dir, server) = (folder.0.join("pki"), server(&folder));
    own(&dir, true).unwrap();
    for number in 0..50 {
        fs::write(dir.join(format!("rejected/{number}")), b"").unwrap();
    }
    assert!(matches!(
        check_server(&dir, &server, "", Acceptance::default()),
        Err(PkiError::Untrusted { .. })
    ));
    assert!(show(&dir).unwrap().rejected.is_empty());
    assert!(matches!(
        check_server(&dir, b"rubbish", "", Acceptance::default()),
        Err(PkiError::Unreadable)
    ));
}

/// A certificate with the names `DNS:plc1, IP:192.0.2.2, URI:urn:plc`, in this order, as OpenSSL and node-opcua write them; valid until 2120.
const HOSTS_FIRST: &[u8] = include_bytes!("hosts_first.der");

#[test]
fn the_application_may_stand_behind_hosts() {
    let folder = Folder::new("order");
    let dir = folder.0.join("pki");
    own(&dir, true).unwrap();
    let error = check_server(&dir, HOSTS_FIRST, "urn:plc", Acceptance::default()).unwrap_err();
    let PkiError::Untrusted { thumbprint, .. } = error else {
        panic!("{error}")
    };
    trust(&dir, &thumbprint, false).unwrap();
    check_server(&dir, HOSTS_FIRST, "urn:plc", Acceptance::default()).unwrap();
    let error = check_server(&dir, HOSTS_FIRST, "plc1", Acceptance::default()).unwrap_err();
    assert!(
        error.to_string().contains(" is for urn:plc, and not for "),
        "{error}"
    );
}

#[test]
fn a_renewed_certificate_is_for_the_same_application_and_the_one_before_is_kept() {
    let folder = Folder::new("renew");
    let dir = folder.0.join("pki");
    assert!(matches!(renew(&dir, false), Err(PkiError::Nothing(_))));
    init(
        &dir,
        "urn:plant:gateway",
        &["gw1".to_owned(), "10.0.0.7".to_owned()],
    )
    .unwrap();
    let first = own(&dir, true).unwrap();
    let key = fs::read(&first.key).unwrap();
    assert!(previous(&dir).is_none());
    let seen = fingerprint(&dir);

    // A certificate has whole seconds: made in the same one with the same key it would be the same.
    let renewed = until_it_differs(&dir, &first.thumbprint);
    assert_eq!(renewed.previous.thumbprint, first.thumbprint);
    assert_ne!(fingerprint(&dir), seen, "a gateway that runs sees it");
    let second = own(&dir, true).unwrap();
    assert_eq!(second.application_uri, "urn:plant:gateway");
    let names = alternative_names(&load(second.certificate.clone()).unwrap().0);
    assert_eq!(
        names,
        alternative_names(&load(renewed.previous.path).unwrap().0),
        "the same hosts"
    );
    assert_eq!(fs::read(&second.key).unwrap(), key, "the same key");
    let before = previous(&dir).unwrap();
    assert_eq!(before.thumbprint, first.thumbprint);
    assert_eq!(fs::read(&before.key).unwrap(), key);

    renew(&dir, true).unwrap();
    let third = own(&dir, true).unwrap();
    assert_ne!(fs::read(&third.key).unwrap(), key, "another key");
    assert_eq!(
        fs::metadata(&third.key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (own, before) = (
        show(&dir).unwrap().own.unwrap(),
        show(&dir).unwrap().previous.unwrap(),
    );
    assert_eq!(
        (own.thumbprint, before.thumbprint),
        (third.thumbprint, second.thumbprint)
    );
}

fn until_it_differs(dir: &Path, thumbprint: &str) -> Renewed {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let renewed = renew(dir, false).unwrap();
        if renewed.certificate.thumbprint != thumbprint {
            return Renewed {
                previous: Certificate {
                    thumbprint: thumbprint.to_owned(),
                    ..renewed.previous
                },
                ..renewed
            };
        }
        assert!(std::time::Instant::now() < deadline);
    }
}

#[test]
fn what_is_rejected_is_trusted_no_more() {
    let folder = Folder::new("reject");
    let (dir, server) = (folder.0.join("pki"), server(&folder));
    own(&dir, true).unwrap();
    let file = folder.0.join("server/own/cert.der");
    let trusted = found(trust(&dir, file.to_str().unwrap(), false).unwrap());
    check_server(&dir, &server, "urn:plc", Acceptance::default()).unwrap();
    assert!(
        matches!(reject(&dir, "abc"), Err(PkiError::NotTrusted(_))),
        "too short to be meant"
    );
    // The beginning is enough.
    reject(&dir, &trusted.thumbprint[..8]).unwrap();
    assert!(matches!(
        check_server(&dir, &server, "urn:plc", Acceptance::default()),
        Err(PkiError::Untrusted { .. })
    ));
    let contents = show(&dir).unwrap();
    assert_eq!((contents.trusted.len(), contents.rejected.len()), (0, 1));
    trust(&dir, &trusted.thumbprint[..8], false).unwrap();
    check_server(&dir, &server, "urn:plc", Acceptance::default()).unwrap();
}
