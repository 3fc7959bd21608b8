//! Ports that a server keeps over its restarts.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the kernel gives out by itself: a restart finds its port free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port that nobody has, and that no other test of this process is given.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static TURN: AtomicU16 = AtomicU16::new(0);
    // Other processes begin elsewhere.
    let first = u16::try_from(std::process::id() % 1_000).expect("below a thousand") * 12;
    for _ in PORTS {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + first.wrapping_add(turn) % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("all ports of {PORTS:?} are taken by other programs");
}
