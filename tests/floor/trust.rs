//! Protected connections to an OPC UA server: whom the gateway trusts, and how it is known.

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Authority, Kafka, OpcUaOptions, Patience, until};

use crate::plant::Plant;

/// A plant whose PLC talks encrypted only, which is what a gateway does when it is told nothing else.
fn plant(options: OpcUaOptions, login: &str) -> Result<Plant> {
    let options = OpcUaOptions {
        policies: vec!["Basic256Sha256-SignAndEncrypt"],
        ..options
    };
    Plant::with(&Kafka::shared()?.bootstrap(), options, &format!("login: {login}"))
}

/// Runs `floorgate pki` with the gateway's configuration and gives its output.
fn pki(plant: &Plant, words: &[&str]) -> Result<String> {
    let output = plant.gateway.command(&[&["pki"], words].concat())?.output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "pki {words:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Trusts the PLC before the gateway has ever seen it.
fn trust(plant: &Plant) -> Result<()> {
    pki(plant, &["init"])?;
    let certificate = plant.plc.certificate();
    pki(plant, &["trust", certificate.to_str().context("the path")?])?;
    Ok(())
}

/// Waits until the log tells why there is no connection, and which paragraph of the runbook is about it.
fn is_told(plant: &mut Plant, reason: &str, see: &str) -> Result<()> {
    plant
        .gateway
        .process()?
        .wait_for_output(reason, Patience::Short)?;
    let (output, end) = (plant.gateway.output()?, format!(" see=\"{see}\""));
    let told = output.lines().find(|line| line.contains(reason));
    assert!(told.is_some_and(|line| line.ends_with(&end)), "no{end}: {output}");
    assert_eq!(
        plant.gateway.metric("floorgate_source_up{source=\"plc\"}")?,
        Some(0.0)
    );
    assert_eq!(plant.plc.monitored_items()?, 0);
    Ok(())
}

/// Waits for the first states, and for a change after them.
fn values_arrive(plant: &mut Plant) -> Result<()> {
    let mut reader = plant.reader("equipment-state")?;
    reader.at_least(2, Patience::Long)?;
    plant.plc.set("Line1.State", 6)?;
    reader.until("the change", Patience::Long, |records| {
        records
            .iter()
            .any(|record| record.json().is_ok_and(|data| data["state"] == "Execute"))
    })?;
    assert_eq!(plant.plc.monitored_items()?, 12);
    Ok(())
}

#[test]
fn an_unknown_plc_is_named_and_let_in_once_it_is_trusted() -> Result<()> {
    let mut plant = plant(OpcUaOptions::default(), "anonymous")?;
    plant.gateway.start()?;
    is_told(&mut plant, "is not trusted", "opcua-server-not-trusted")?;
    let shown = pki(&plant, &["show"])?;
    let refused = shown
        .lines()
        .find_map(|line| line.strip_prefix("refused   thumbprint  "))
        .with_context(|| shown.clone())?;
    let advice = format!("floorgate pki trust {refused}");
    assert!(plant.gateway.output()?.contains(&advice), "no {advice:?}");

    // The next attempt gets through: no restart is needed.
    pki(&plant, &["trust", refused])?;
    values_arrive(&mut plant)?;
    let shown = pki(&plant, &["show"])?;
    assert!(
        shown.contains(&format!("trusted   thumbprint  {refused}")),
        "{shown}"
    );
    assert!(!shown.contains("refused"), "{shown}");
    Ok(())
}

/// Values arrive from a PLC that has one policy and mode alone, and whose user's password is encrypted by that. The other test of each policy has one library at
/// both ends.
fn is_spoken(of_plc: &'static str, security: &str) -> Result<()> {
    let options = OpcUaOptions {
        policies: vec![of_plc],
        user: Some(("line-gateway", "s3cret")),
        ..OpcUaOptions::default()
    };
    let special =
        format!("security: {security}\n    login: {{user: line-gateway, password_file: plc.password}}");
    let mut plant = Plant::with(&Kafka::shared()?.bootstrap(), options, &special)?;
    plant.gateway.write("plc.password", "s3cret\n")?;
    trust(&plant)?;
    plant.gateway.start()?;
    values_arrive(&mut plant).context(of_plc)
}

#[test]
fn the_other_policies_are_spoken_with_a_server_by_others() -> Result<()> {
    is_spoken(
        "Aes128Sha256RsaOaep-SignAndEncrypt",
        "{policy: aes128-sha256-rsaoaep, mode: sign-and-encrypt}",
    )?;
    is_spoken(
        "Aes256Sha256RsaPss-SignAndEncrypt",
        "{policy: aes256-sha256-rsapss, mode: sign-and-encrypt}",
    )
}

#[test]
fn messages_that_are_only_signed_are_spoken_with_a_server_by_others() -> Result<()> {
    is_spoken("Basic256Sha256-Sign", "{policy: basic256sha256, mode: sign}")?;
    is_spoken(
        "Aes256Sha256RsaPss-Sign",
        "{policy: aes256-sha256-rsapss, mode: sign}",
    )
}

#[test]
fn deprecated_policies_are_spoken_with_a_server_by_others_where_they_are_allowed() -> Result<()> {
    const ALLOWED: &str = "\n    allow_deprecated_security_policy: true";
    for (of_plc, policy) in [
        ("Basic256-SignAndEncrypt", "basic256"),
        ("Basic128Rsa15-SignAndEncrypt", "basic128rsa15"),
    ] {
        let security = format!("{{policy: {policy}, mode: sign-and-encrypt}}");
        let refused = is_spoken(of_plc, &security).expect_err("it is deprecated");
        let refused = format!("{refused:#}");
        ensure!(refused.contains("deprecated"), "{refused}");
        is_spoken(of_plc, &(security + ALLOWED))?;
    }
    Ok(())
}

/// A plant's authority is trusted, and the group's above it only completes the chain: by itself that is no trust.
#[test]
fn an_authority_that_only_completes_chains_is_taken_as_such() -> Result<()> {
    let options = OpcUaOptions {
        by_authority: true,
        ..OpcUaOptions::default()
    };
    let login = "anonymous\n    allow_unknown_revocation: true";
    let mut plant = plant(options, login)?;
    pki(&plant, &["init"])?;
    let file = |name: &str| Ok::<_, anyhow::Error>(plant.plc.authority(name).display().to_string());
    let (of_group, of_plant) = (file("group")?, file("plant")?);
    for name in [&of_group, &of_plant] {
        let said = pki(&plant, &["trust", name, "--issuer"])?;
        assert!(said.starts_with("issuer    thumbprint"), "{said}");
    }
    let server = plant.plc.certificate().display().to_string();
    let refused = pki(&plant, &["trust", &server, "--issuer"]).expect_err("it may sign nothing");
    assert!(
        refused.to_string().contains("is no certificate of an authority"),
        "{refused}"
    );
    plant.gateway.start()?;
    is_told(&mut plant, "is not trusted", "opcua-server-not-trusted")?;
    assert!(listed(&plant, "trusted")?.is_none());
    pki(&plant, &["trust", &of_plant])?;
    values_arrive(&mut plant)
}

#[test]
fn a_plc_that_refuses_the_gateway_is_told_and_lets_it_in_once_it_is_trusted() -> Result<()> {
    let options = OpcUaOptions {
        checks_clients: true,
        ..OpcUaOptions::default()
    };
    let mut plant = plant(options, "anonymous")?;
    trust(&plant)?;
    plant.gateway.start()?;
    is_told(
        &mut plant,
        "BadCertificateUntrusted: the server does not trust the gateway's certificate; have it trust ",
        "opcua-gateway-not-trusted",
    )?;
    let output = plant.gateway.output()?;
    let advice = output
        .split("have it trust ")
        .nth(1)
        .and_then(|rest| rest.split(';').next());
    let file = advice.with_context(|| output.clone())?;

    // The file that is named is what the server needs, and the next attempt gets through.
    plant.plc.trust(std::path::Path::new(file))?;
    values_arrive(&mut plant)?;
    let told = plant
        .reader("source-connection")?
        .at_least(2, Patience::Long)?
        .to_vec();
    let data = told[0].json()?;
    assert_eq!(data["state"], "Offline");
    let reason = data["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(file), "{data}");
    assert_eq!(data["see"], "opcua-gateway-not-trusted");
    assert_eq!(told[1].json()?["state"], "Online");
    Ok(())
}

#[test]
fn a_user_is_known_by_the_password() -> Result<()> {
    let options = OpcUaOptions {
        user: Some(("line-gateway", "s3cret-Of-The-Line")),
        ..OpcUaOptions::default()
    };
    let mut plant = plant(options, "{user: line-gateway, password_file: plc.password}")?;
    trust(&plant)?;
    plant.gateway.write("plc.password", "guessed\n")?;
    plant.gateway.start()?;
    is_told(&mut plant, "BadUserAccessDenied", "opcua-login-refused")?;

    // The file is read for each attempt: no restart is needed.
    plant.gateway.write("plc.password", "s3cret-Of-The-Line\n")?;
    values_arrive(&mut plant)?;
    let output = plant.gateway.output()?;
    for password in ["guessed", "s3cret"] {
        assert!(!output.contains(password), "a password in the log: {output}");
    }
    Ok(())
}

#[test]
fn a_user_is_known_by_the_certificate() -> Result<()> {
    let authority = Authority::new(&["line-gateway", "somebody"])?;
    let options = OpcUaOptions {
        user_certificate: Some(authority.certificate_of("line-gateway")),
        ..OpcUaOptions::default()
    };
    let mut plant = plant(
        options,
        "{certificate_file: user.pem, key_file: \"credential:user.key.pem\"}",
    )?;
    let folder = plant.gateway.folder().to_owned();
    plant.gateway.set_variable("CREDENTIALS_DIRECTORY", folder);
    trust(&plant)?;
    let hand_out = |plant: &Plant, name: &str| -> Result<()> {
        let certificate = std::fs::read_to_string(authority.certificate_of(name))?;
        let key = std::fs::read_to_string(authority.key_of(name))?;
        plant.gateway.write("user.pem", &certificate)?;
        plant.gateway.write("user.key.pem", &key)?;
        Ok(())
    };
    hand_out(&plant, "somebody")?;
    plant.gateway.start()?;
    is_told(&mut plant, "BadUserAccessDenied", "opcua-login-refused")?;

    hand_out(&plant, "line-gateway")?;
    values_arrive(&mut plant)
}

/// What `pki list --json` says of the certificate of a kind.
fn listed(plant: &Plant, kind: &str) -> Result<Option<serde_json::Value>> {
    let list: serde_json::Value = serde_json::from_str(&pki(plant, &["list", "--json"])?)?;
    let certificates = list["certificates"].as_array().context("no certificates")?;
    Ok(certificates
        .iter()
        .find(|certificate| certificate["kind"] == kind)
        .cloned())
}

#[test]
fn a_certificate_is_renewed_while_the_gateway_runs() -> Result<()> {
    let options = OpcUaOptions {
        checks_clients: true,
        ..OpcUaOptions::default()
    };
    let mut plant = plant(options, "anonymous")?;
    trust(&plant)?;
    let first = listed(&plant, "own")?.context("no own certificate")?;
    let days = first["daysLeft"].as_i64().unwrap_or_default();
    assert!((1_823..=1_825).contains(&days), "{first}");
    let file = first["file"].as_str().context("no file")?.to_owned();
    plant.plc.trust(std::path::Path::new(&file))?;
    plant.gateway.start()?;
    values_arrive(&mut plant)?;
    for (whose, kind) in [("gateway", "own"), ("server", "trusted")] {
        let expires =
            format!("floorgate_certificate_expires_timestamp_seconds{{source=\"plc\",whose=\"{whose}\"}}");
        let ends = until(whose, Patience::Short, || plant.gateway.metric(&expires))?;
        let certificate = listed(&plant, kind)?.context(kind)?;
        let until: jiff::Timestamp = certificate["validTo"].as_str().context("no end")?.parse()?;
        let until = until.duration_since(jiff::Timestamp::UNIX_EPOCH).as_secs_f64();
        assert!((ends - until).abs() < 1.0, "{whose}: {ends} and {certificate}");
    }

    // The PLC does not know the new one: it is read with the one before.
    let said = pki(&plant, &["renew", "--new-key"])?;
    assert!(
        said.contains("Have each server trust ") && said.contains(&file),
        "{said}"
    );
    let thumbprint =
        |kind: &str| Ok::<_, anyhow::Error>(listed(&plant, kind)?.context("none")?["thumbprint"].clone());
    assert_eq!(thumbprint("previous")?, first["thumbprint"]);
    assert_ne!(thumbprint("own")?, first["thumbprint"]);
    plant
        .gateway
        .process()?
        .wait_for_output("the gateway has a new certificate", Patience::Short)?;
    plant
        .gateway
        .process()?
        .wait_for_output("BadCertificateUntrusted", Patience::Long)?;
    plant
        .gateway
        .wait_for_metric("floorgate_source_up{source=\"plc\"}", 1.0..=1.0, Patience::Long)?;
    plant.plc.set("Line2.State", 6)?;
    plant.reader("equipment-state")?.at_least(4, Patience::Long)?;

    // Who is trusted no more is left at once.
    let server = listed(&plant, "trusted")?.context("no trusted one")?;
    let server = server["thumbprint"].as_str().unwrap_or_default().to_owned();
    pki(&plant, &["reject", &server[..12]])?;
    plant
        .gateway
        .process()?
        .wait_for_output("is not trusted", Patience::Short)?;
    plant
        .gateway
        .wait_for_metric("floorgate_source_up{source=\"plc\"}", 0.0..=0.0, Patience::Short)?;
    let table = pki(&plant, &["list"])?;
    assert!(
        table.starts_with("KIND ") && table.contains(&format!("rejected  {server}")),
        "{table}"
    );

    // A folder may be named in place of the settings.
    let state = plant.gateway.state().display().to_string();
    let output = std::process::Command::new(floorgate_tests::binary("floorgate")?)
        .args(["pki", "list", "--state-dir", &state])
        .output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), table);
    Ok(())
}
