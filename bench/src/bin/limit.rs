//! The limit of this machine: an HTTP server that does nothing for a request but answer it.
//!
//! The product's rates are given as shares of this server's, measured in the same run with the
//! same load, so that they mean the same on any machine. It is axum on tokio as they come, with a
//! worker for each core and the product's allocator, and answers with a body of the size of the
//! product's answer.
#![expect(clippy::print_stdout, reason = "a command line program says where it listens")]

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::routing::{get, post};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers every claim with 201, every read with 200, and a fixed body.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Size of the answer's body in bytes: the product's, for a fair limit.
    #[arg(long, default_value_t = 400)]
    body_bytes: usize,
    /// Threads of the runtime; by default one for each core.
    #[arg(long)]
    worker_threads: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = arguments.worker_threads {
        runtime.worker_threads(threads);
    }
    runtime.enable_all().build()?.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let body = Bytes::from(vec![b'x'; arguments.body_bytes]);
    let answer = |status: StatusCode| {
        let body = body.clone();
        move || async move { (status, [(header::CONTENT_TYPE, "application/json")], body) }
    };
    let router = axum::Router::new()
        .route("/v1/events/{id}/claims", post(answer(StatusCode::CREATED)))
        .route("/v1/events/{id}", get(answer(StatusCode::OK)))
        .route("/v1/me/coupons", get(answer(StatusCode::OK)));
    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
