//! Skeleton.
mod cli;
mod config;
mod logs;
mod measures;
fn main() {}
