//! What the process tells of itself: metrics, traces, the log; and what none of them tells.

mod canary;
mod collector;
mod logs;
mod measures;
mod traces;
