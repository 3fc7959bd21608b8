//! What other tests stand on, on real servers.

mod database;
