//! Tests of the rules: tables first, then properties over random histories.

mod claim_properties;
mod claim_rule;
mod codes;
mod ids;
mod lifecycle;
mod numbers;
mod redemption;
mod reference;
mod sample;
mod texts;
mod times;
