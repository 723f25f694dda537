//! A TCP proxy between gateway and server, at which connections are broken, frozen and refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The proxy.
pub struct Proxy {
    pub port: u16,
    cut: watch::Sender<u64>,
    frozen: watch::Sender<bool>,
    refusing: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy for a server on this machine.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, cuts) = watch::channel(0);
        let (frozen, freezes) = watch::channel(false);
        let refusing = Arc::new(AtomicBool::new(false));
        let refuses = Arc::clone(&refusing);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if refuses.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                    continue;
                };
                let mut cuts = cuts.clone();
                cuts.borrow_and_update();
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                let (up, down) = (freezes.clone(), freezes.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cuts.changed() => {}
                        () = copy(client_in, server_out, up) => {}
                        () = copy(server_in, client_out, down) => {}
                    }
                });
            }
        });
        Self {
            port,
            cut,
            frozen,
            refusing,
            task,
        }
    }

    /// Breaks all connections.
    pub fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// Accepts connections and closes them at once, or not.
    pub fn refuse(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::SeqCst);
    }

    /// Lets connections stand and passes nothing on, or passes on again.
    pub fn freeze(&self, freeze: bool) {
        self.frozen.send_replace(freeze);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
