//! Redemption.
