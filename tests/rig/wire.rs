//! A network cable to a peer, which can be cut so that neither end notices.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

/// A network namespace for a peer, and two interfaces that join it to this machine. It is gone when this handle is dropped. Root only.
#[derive(Debug)]
pub struct Wire {
    /// The namespace.
    name: String,
    here: End,
    there: End,
}

/// One end: the interface and its addresses.
#[derive(Debug)]
struct End {
    link: String,
    address: String,
    hardware: String,
}

/// The hardware address of nobody: what is sent to it is received and thrown away.
const NOBODY: &str = "02:00:00:00:00:01";

impl Wire {
    /// Lays one.
    pub fn lay() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("fg{process}-{count}");
        // Networks of four addresses in 10.128.0.0/9, another for each process and wire.
        let network = (process % (1 << 17) * 16 + count % 16) * 4;
        let address = |host: u32| {
            let [_, second, third, fourth] = (network + host).to_be_bytes();
            format!("10.{}.{third}.{fourth}", second | 0x80)
        };
        let end = |side: &str, host| End {
            link: format!("{name}{side}"),
            address: address(host),
            hardware: String::new(),
        };
        let mut wire = Self {
            here: end("h", 1),
            there: end("t", 2),
            name,
        };
        let Self { name, here, there } = &wire;
        ip(&["netns", "add", name])?;
        ip(&[
            "link",
            "add",
            &here.link,
            "type",
            "veth",
            "peer",
            "name",
            &there.link,
            "netns",
            name,
        ])?;
        for (space, end) in [(None, here), (Some(name), there)] {
            let of = |words: &[&str]| in_space(space.map(String::as_str), words);
            of(&["addr", "add", &format!("{}/30", end.address), "dev", &end.link])?;
            of(&["link", "set", &end.link, "up"])?;
        }
        wire.here.hardware = hardware(None, &wire.here.link)?;
        wire.there.hardware = hardware(Some(&wire.name), &wire.there.link)?;
        wire.mend()?;
        Ok(wire)
    }

    /// The address of the far end.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.there.address
    }

    /// What comes before a command that is to run at the far end.
    #[must_use]
    pub fn prefix(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Cuts it: nothing arrives any more, either way, and nobody is told.
    pub fn cut(&self) -> Result<()> {
        self.lead([NOBODY, NOBODY])
    }

    /// Mends it.
    pub fn mend(&self) -> Result<()> {
        self.lead([&self.there.hardware, &self.here.hardware])
    }

    /// Where the frames go that leave here, and those that come back.
    fn lead(&self, [out, back]: [&str; 2]) -> Result<()> {
        let neighbour = |space: Option<&str>, near: &End, far: &End, hardware: &str| {
            let words = [
                "neigh",
                "replace",
                &far.address,
                "lladdr",
                hardware,
                "dev",
                &near.link,
                "nud",
                "permanent",
            ];
            in_space(space, &words)
        };
        neighbour(None, &self.here, &self.there, out)?;
        neighbour(Some(&self.name), &self.there, &self.here, back)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The interfaces go with it.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn hardware(space: Option<&str>, link: &str) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(space.iter().flat_map(|space| ["-n", space]));
    let output = command.args(["-brief", "link", "show", "dev", link]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The name, the state, the address.
    let address = text.split_whitespace().nth(2);
    Ok(address
        .with_context(|| format!("no address of {link}: {text}"))?
        .to_owned())
}

fn in_space(space: Option<&str>, words: &[&str]) -> Result<()> {
    let before: Vec<&str> = space.iter().flat_map(|space| ["-n", space]).collect();
    ip(&[&before, words].concat())
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).output().context("ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {said}", words.join(" "));
    Ok(())
}
