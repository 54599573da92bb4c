//! What is started, in which order, and how it ends.
//!
//! 1. configuration and rules are loaded: a mistake in them ends the process before it touches data;
//! 2. the listener opens: probes and people see how far the start has come;
//! 3. storage opens and replays its log;
//! 4. queries, ingest, rules and notifier are put together, once for each tenant, then the own scrape, and requests are answered;
//! 5. at `SIGTERM` or `SIGINT` the reverse: no new requests, rules stop, alerts leave, the log is closed.

mod common;
pub mod load;
mod parts;
mod plan;
mod reload;
pub mod retention;
mod room;
mod rule_groups;
mod store;
mod tenant;
mod tenants;

use crate::config::ServeFlags;
use crate::http::server::{self, ServerOptions};
use crate::http::starting_app;
use crate::http::switch::RouterSwitch;
use crate::runtime::cpu::STACK_BYTES;
use crate::telemetry::log;
use parts::Parts;
use plan::Plan;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Connections that are open at once.
const CONNECTIONS_MAX: usize = 10_000;

/// Serves until told to stop.
#[must_use]
pub fn run(flags: ServeFlags) -> ExitCode {
    log::init(flags.log_level, flags.log_format);
    // Light queries are evaluated on these threads too.
    let threads = tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build();
    let runtime = match threads {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start threads: {error}")),
    };
    match runtime.block_on(serve(flags)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => failed(&problem),
    }
}

fn failed(problem: &str) -> ExitCode {
    tracing::error!(problem, "Hearth ends");
    ExitCode::FAILURE
}

async fn serve(flags: ServeFlags) -> Result<(), String> {
    let plan = Plan::new(&flags)?;
    let address = flags.listen_address;
    let listener = TcpListener::bind(address).await.map_err(|error| format!("listen on {address}: {error}"))?;
    let early = plan.early(&flags);
    let prefix = flags.external_url.as_ref().map_or("", |url| url.path());
    let switch = RouterSwitch::new(starting_app(&early)).below(prefix);
    let stop = CancellationToken::new();
    let options = ServerOptions { connections_max: CONNECTIONS_MAX, drain_timeout: flags.drain_timeout.as_std() };
    let server = tokio::spawn(server::serve(listener, switch.clone(), stop.clone(), options));
    tracing::info!(address = %address, storage = %flags.storage_path.display(), "Hearth listens and opens its storage");

    let store = tokio::select! {
        store = store::open(&flags, &plan, &early) => store?,
        () = told_to_stop() => return Ok(()),
    };
    let parts = Parts::start(&flags, plan, early, store).await?;
    switch.set(parts.router());
    parts.announce(&flags);
    parts.run_until(told_to_stop()).await;

    tracing::info!("Hearth stops: requests in flight may finish");
    parts.stop_taking();
    stop.cancel();
    // A server task that panicked has nothing left to finish.
    let _ = server.await;
    parts.shutdown().await
}

/// Returns at `SIGTERM` or `SIGINT`.
async fn told_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
