//! The rules, as tables and as properties.

mod redemption;
