//! What a server says before it is known who it is.
//!
//! A certificate is checked by what the server tells of its endpoints, over a connection that anybody can answer. The protocol library reads diagnostic information within
//! diagnostic information, and data values within data values, as deep as they are nested: each byte of an answer may cost some hundred bytes of the stack. Such answers
//! are therefore short, and are read on a thread whose stack is deep enough for the worst of them. After that the server has proved with its key who it is.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use opcua::types::{Error, StatusCode};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Most chunks of 64 KiB that the endpoints of a server may take.
pub const MOST_CHUNKS: usize = 2;
/// The same in bytes.
pub const MOST_BYTES: usize = MOST_CHUNKS << 16;
/// The stack: 8 KiB for each byte, twice what they take without optimisation. What of it is not used takes no memory; a system that promises no more than it has may
/// refuse it all the same, and then a smaller one has to do.
const STACKS: [usize; 2] = [MOST_BYTES << 13, 32 << 20];

/// Listens to a server that is not known, for so long.
pub async fn listen<T, F>(within: Duration, hear: impl FnOnce() -> F + Send + 'static) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>>,
{
    let failed = |error: std::io::Error| Error::new(StatusCode::BadResourceUnavailable, error.to_string());
    // Whoever waits no longer ends it.
    let stop = CancellationToken::new();
    let _end = stop.clone().drop_guard();
    let (sender, heard) = oneshot::channel();
    let on_thread = move || {
        let work = async move {
            tokio::select! {
                () = stop.cancelled() => Err(Error::new(StatusCode::BadShutdown, "nobody listens any more")),
                heard = tokio::time::timeout(within, hear()) => heard.unwrap_or_else(|_| Err(Error::new(StatusCode::BadTimeout, "no answer in time"))),
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(work),
            Err(error) => Err(failed(error)),
        };
        // Whoever waits no longer is not told.
        let _ = sender.send(result);
    };
    start(on_thread).map_err(failed)?;
    heard.await.unwrap_or_else(|_| {
        Err(Error::new(
            StatusCode::BadUnexpectedError,
            "the thread ended early",
        ))
    })
}

/// Starts a thread with the largest stack that there is room for.
fn start(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let work = Arc::new(Mutex::new(Some(work)));
    let mut started = Ok(());
    for stack in STACKS {
        let work = Arc::clone(&work);
        let run = move || {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(work) = work {
                work();
            }
        };
        let thread = thread::Builder::new().name("floorgate-stranger".to_owned());
        started = thread.stack_size(stack).spawn(run).map(drop);
        if started.is_ok() {
            break;
        }
    }
    started
}
