//! Starting and stopping the plant.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use ::opcua::server::ServerHandle;
use serde::Serialize;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    JournalTarget, Load, MAX_LOAD_TAGS, Record,
    driver::{Counters, Driver, WriteClock},
    journal::Journal,
    load::Schedule,
    modbus::{self, Units},
    model::Hall,
    opcua_server::{self, Endpoints, OpcUaServer},
};

/// Most tags of the OPC UA load: what six digits in a tag's name hold.
const MAX_OPCUA_LOAD_TAGS: u32 = 1_000_000;

/// Security that the OPC UA server offers. The endpoint without security is always there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Only the endpoint without security. No key is made.
    NoneOnly,
    /// Also signed and encrypted endpoints, with a certificate that the server makes for itself where there is none.
    Encrypted {
        /// Directory of certificate and key (`own/cert.der`, `private/private.pem`); none for a temporary one that goes with the plant.
        keys: Option<PathBuf>,
    },
}

/// What the plant is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address on which both servers listen.
    pub bind: IpAddr,
    /// Port of the OPC UA server; 0 for any free one.
    pub opcua_port: u16,
    /// Port of the Modbus server; 0 for any free one.
    pub modbus_port: u16,
    /// Number of filling lines.
    pub lines: u32,
    /// Number of conveyors, at most 99; their unit ids count from 1.
    pub conveyors: u8,
    /// How many seconds of the hall's life pass in one second; 0 stops it. At 1 a line makes about five changes a second.
    pub rate: f64,
    /// Fixes what happens; the same seed plays the same life.
    pub seed: u64,
    /// Where all counters start.
    pub counter_start: u32,
    /// Load on OPC UA beside the lines.
    pub load: Option<Load>,
    /// Load on Modbus beside the conveyors, at most [`MAX_LOAD_TAGS`].
    pub modbus_load: Option<Load>,
    /// Where the changes of the hall are recorded. Load is not: its values tell by themselves what was written.
    pub journal: JournalTarget,
    /// Security of the OPC UA server.
    pub security: Security,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            opcua_port: 0,
            modbus_port: 0,
            lines: 6,
            conveyors: 2,
            rate: 1.0,
            seed: 1,
            counter_start: 0,
            load: None,
            modbus_load: None,
            journal: JournalTarget::Off,
            security: Security::Encrypted { keys: None },
        }
    }
}

/// Why a plant did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    /// An option is out of its range.
    #[error("option {name} is {value}, but must be {range}")]
    Option {
        /// Name of the option.
        name: &'static str,
        /// The value given.
        value: String,
        /// What is allowed.
        range: String,
    },
    /// A server cannot listen.
    #[error("cannot listen on {address} for {protocol}")]
    Listen {
        /// What should have been served there.
        protocol: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The directory of keys cannot be made.
    #[error("cannot make the key directory {path}")]
    Keys {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The OPC UA server refuses its settings or a value.
    #[error("opc ua server: {0}")]
    OpcUa(String),
    /// The journal cannot be opened or written; the plant stops, as it must not do what it cannot record.
    #[error("cannot write the journal {path}")]
    Journal {
        /// The journal's file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The plant's thread cannot start or broke.
    #[error("the plant's thread: {0}")]
    Thread(String),
}

/// What the plant has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Changes of lines and conveyors.
    pub changes: u64,
    /// Writes to OPC UA load tags. Of `n` tags, tag `i` was written `total / n` times, and once more where `i < total % n`.
    pub load: u64,
    /// Writes to Modbus load tags, spread likewise.
    pub modbus_load: u64,
    /// Changes and writes that came more than [`LATE`](crate::LATE) after they were due. They were made up for, not left out.
    pub late: u64,
}

/// A running plant. Dropped without [`stop`](Self::stop), it ends as well, but nobody waits for it or hears of its errors.
#[derive(Debug)]
pub struct Plant {
    opcua: SocketAddr,
    modbus: SocketAddr,
    counters: Arc<Counters>,
    journal: Option<Arc<Mutex<Vec<Record>>>>,
    /// Dropping it ends the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<Result<(), PlantError>>>,
    ended: CancellationToken,
    servers: Servers,
}

/// The tasks of the two servers and the keys that they use.
struct Servers {
    opcua: ServerHandle,
    opcua_task: JoinHandle<()>,
    modbus_stop: CancellationToken,
    modbus_task: JoinHandle<()>,
    _keys: KeyDirectory,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Servers")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.opcua.cancel();
        self.modbus_stop.cancel();
    }
}

/// The directory of the server's keys; a temporary one goes when this goes.
struct KeyDirectory {
    path: PathBuf,
    temporary: bool,
}

impl KeyDirectory {
    fn open(security: &Security) -> Result<Self, PlantError> {
        let Security::Encrypted { keys: Some(path) } = security else {
            return Self::temporary();
        };
        match std::fs::create_dir_all(path) {
            Ok(()) => Ok(Self {
                path: path.clone(),
                temporary: false,
            }),
            Err(source) => Err(PlantError::Keys {
                path: path.clone(),
                source,
            }),
        }
    }

    /// Makes a directory that did not exist, for this user alone. A plant that was killed leaves its own behind, and a later
    /// process may have its number again.
    fn temporary() -> Result<Self, PlantError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("floorgate-simulator-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match builder.create(&path) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        temporary: true,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(PlantError::Keys { path, source }),
            }
        }
    }
}

impl Drop for KeyDirectory {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::debug!(%error, path = %self.path.display(), "cannot remove the temporary key directory");
        }
    }
}

fn check(options: &Options) -> Result<(), PlantError> {
    let wrong = |name, value: String, range: String| Err(PlantError::Option { name, value, range });
    if !(options.rate.is_finite() && (0.0..=10_000.0).contains(&options.rate)) {
        return wrong("rate", options.rate.to_string(), "from 0 to 10000".into());
    }
    if options.conveyors >= modbus::LOAD_UNIT {
        return wrong("conveyors", options.conveyors.to_string(), "at most 99".into());
    }
    for (name, load, most) in [
        ("load", options.load, MAX_OPCUA_LOAD_TAGS),
        ("modbus load", options.modbus_load, MAX_LOAD_TAGS),
    ] {
        let Some(load) = load else { continue };
        if load.tags == 0 || load.tags > most {
            return wrong(name, format!("{} tags", load.tags), format!("1 to {most} tags"));
        }
        if !(load.rate.is_finite() && (0.0..=10_000_000.0).contains(&load.rate)) {
            return wrong(
                name,
                format!("{} changes a second", load.rate),
                "0 to 10000000 changes a second".into(),
            );
        }
    }
    Ok(())
}

async fn listen(
    protocol: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), PlantError> {
    let failed = |source| PlantError::Listen {
        protocol,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl Plant {
    /// Opens both servers and starts the hall. When it returns, clients can connect. To be called within a tokio runtime with
    /// time and network. With [`Security::Encrypted`] and no key yet, making one takes up to a second.
    pub async fn start(options: Options) -> Result<Self, PlantError> {
        check(&options)?;
        let journal = Journal::open(&options.journal)?;
        let keys = KeyDirectory::open(&options.security)?;
        let (opcua_listener, opcua) = listen("opc ua", (options.bind, options.opcua_port).into()).await?;
        let (modbus_listener, modbus) = listen("modbus", (options.bind, options.modbus_port).into()).await?;

        let hall = Hall::new(
            options.lines,
            options.conveyors,
            options.seed,
            options.counter_start,
        );
        let mut clock = WriteClock::default();
        let now = clock.now();
        let endpoints = Endpoints {
            bind: options.bind,
            keys: &keys.path,
            encrypted: options.security != Security::NoneOnly,
        };
        let (server, opcua_task) =
            OpcUaServer::start(opcua_listener, &endpoints, hall.tags(), options.load, now)?;
        let units = Units::new(options.conveyors, options.modbus_load.map(|load| load.tags));
        let modbus_stop = CancellationToken::new();
        let modbus_task = {
            let (units, stop) = (units.clone(), modbus_stop.clone());
            tokio::spawn(async move {
                if let Err(error) = modbus::serve(modbus_listener, units, stop).await {
                    tracing::error!(%error, "the modbus server ended");
                }
            })
        };
        let servers = Servers {
            opcua: server.handle(),
            opcua_task,
            modbus_stop,
            modbus_task,
            _keys: keys,
        };

        let (counters, entries) = (Arc::new(Counters::default()), journal.entries());
        let mut driver = Driver {
            names: hall.tags().iter().map(|tag| tag.name.as_str().into()).collect(),
            hall,
            rate: options.rate,
            opcua: server,
            units,
            opcua_load: options.load.map(Schedule::new),
            modbus_load: options.modbus_load.map(Schedule::new),
            journal,
            counters: Arc::clone(&counters),
            clock,
        };
        driver.show_start(now)?;
        let (stop, stopped) = mpsc::channel();
        let ended = CancellationToken::new();
        let tell_end = ended.clone().drop_guard();
        let thread = thread::Builder::new()
            .name("plant".to_owned())
            .spawn(move || {
                let _tell_end = tell_end;
                driver.run(&stopped)
            })
            .map_err(|error| PlantError::Thread(error.to_string()))?;
        Ok(Self {
            opcua,
            modbus,
            counters,
            journal: entries,
            stop: Some(stop),
            thread: Some(thread),
            ended,
            servers,
        })
    }

    /// Where the OPC UA server listens.
    #[must_use]
    pub fn opcua_address(&self) -> SocketAddr {
        self.opcua
    }

    /// The endpoint URL of the OPC UA server.
    #[must_use]
    pub fn opcua_url(&self) -> String {
        format!("opc.tcp://{}/", self.opcua)
    }

    /// Where the Modbus TCP server listens.
    #[must_use]
    pub fn modbus_address(&self) -> SocketAddr {
        self.modbus
    }

    /// What has been done so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            changes: read(&self.counters.changes),
            load: read(&self.counters.opcua_load),
            modbus_load: read(&self.counters.modbus_load),
            late: read(&self.counters.late),
        }
    }

    /// The journal so far, if it is kept in memory; otherwise nothing.
    #[must_use]
    pub fn journal(&self) -> Vec<Record> {
        self.journal
            .as_ref()
            .map(|entries| entries.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }

    /// Waits until the hall stands still without having been stopped: it could not go on. [`stop`](Self::stop) tells why.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Stops the hall, then both servers, and waits for them. After it the journal is complete.
    pub async fn stop(mut self) -> Result<Totals, PlantError> {
        drop(self.stop.take());
        self.ended.cancelled().await;
        let result = match self.thread.take().map(thread::JoinHandle::join) {
            Some(Err(_)) => Err(PlantError::Thread("it panicked".to_owned())),
            Some(Ok(result)) => result,
            None => Ok(()),
        };
        opcua_server::stop(&self.servers.opcua, &mut self.servers.opcua_task).await;
        self.servers.modbus_stop.cancel();
        if let Err(error) = (&mut self.servers.modbus_task).await {
            tracing::warn!(%error, "the modbus server broke");
        }
        result.map(|()| self.totals())
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyDirectory, Security};

    #[test]
    fn temporary_keys_are_private_and_go_and_given_ones_stay() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = KeyDirectory::open(&Security::Encrypted { keys: None }).expect("a directory");
        let path = temporary.path.clone();
        let mode = path.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);

        let keys = Security::Encrypted {
            keys: Some(path.join("given")),
        };
        drop(KeyDirectory::open(&keys).expect("a directory"));
        assert!(path.join("given").is_dir());
        drop(temporary);
        assert!(!path.exists());
    }
}
