//! The section `limits` of the configuration.

use firstcome_core::Invalid;
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::proxies::TrustedProxies;
use super::quota::Quota;

/// Most requests at once.
const BURST_MAX: u32 = 1_000_000;
/// Most requests a minute.
const PER_MINUTE_MAX: u32 = 6_000_000;
/// Keys of each limit: at least and at most.
const KEYS_MIN: usize = 1_024;
const KEYS_MAX: usize = 1 << 22;
/// Most trusted networks: each is looked at for a request through a proxy.
const PROXIES_MAX: usize = 64;

/// How much of what is let through. Each limit has a burst and a rate from then on; both zero turn
/// it off. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Proxies whose `X-Forwarded-For` is believed: addresses and networks.
    pub trusted_proxies: Vec<String>,
    /// Addresses, users or accounts that each limit remembers, at 8 to 16 bytes each.
    pub keys_max: usize,
    /// Sign-ups from an address.
    pub sign_up_address_burst: u32,
    /// Its rate.
    pub sign_up_address_per_minute: u32,
    /// Log-ins from an address.
    pub log_in_address_burst: u32,
    /// Its rate.
    pub log_in_address_per_minute: u32,
    /// Failed log-ins with an e-mail address.
    pub log_in_account_burst: u32,
    /// Its rate.
    pub log_in_account_per_minute: u32,
    /// Requests to the token endpoint from an address.
    pub token_address_burst: u32,
    /// Its rate.
    pub token_address_per_minute: u32,
    /// Claims from an address.
    pub claim_address_burst: u32,
    /// Its rate.
    pub claim_address_per_minute: u32,
    /// Claims of a user.
    pub claim_user_burst: u32,
    /// Its rate.
    pub claim_user_per_minute: u32,
    /// All other requests from an address.
    pub other_address_burst: u32,
    /// Its rate.
    pub other_address_per_minute: u32,
    /// All other requests of a user.
    pub other_user_burst: u32,
    /// Its rate.
    pub other_user_per_minute: u32,
    /// All other requests of an admin or a checkout service.
    pub staff_user_burst: u32,
    /// Its rate.
    pub staff_user_per_minute: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            keys_max: 65_536,
            sign_up_address_burst: 500,
            sign_up_address_per_minute: 600,
            log_in_address_burst: 500,
            log_in_address_per_minute: 600,
            log_in_account_burst: 30,
            log_in_account_per_minute: 2,
            token_address_burst: 500,
            token_address_per_minute: 1_200,
            claim_address_burst: 0,
            claim_address_per_minute: 0,
            claim_user_burst: 5_000,
            claim_user_per_minute: 12_000,
            other_address_burst: 0,
            other_address_per_minute: 0,
            other_user_burst: 2_000,
            other_user_per_minute: 30_000,
            staff_user_burst: 20_000,
            staff_user_per_minute: 600_000,
        }
    }
}

impl LimitsConfig {
    /// Checks the values against their bounds.
    ///
    /// # Errors
    /// A sentence that names the key and its range.
    pub fn check(&self) -> Result<(), Invalid> {
        for kind in Kind::ALL {
            let (word, (burst, per_minute)) = (kind.word(), self.numbers(kind));
            within(&format!("{word}_burst"), burst, 0, BURST_MAX)?;
            within(&format!("{word}_per_minute"), per_minute, 0, PER_MINUTE_MAX)?;
            if (burst == 0) != (per_minute == 0) {
                let (zero, other) = match burst {
                    0 => ("burst", "per_minute"),
                    _ => ("per_minute", "burst"),
                };
                return Err(Invalid::new(format!(
                    "limits.{word}_{zero} is 0 and limits.{word}_{other} is not; both at 0 turn \
                     the limit off"
                )));
            }
        }
        within("keys_max", self.keys_max, KEYS_MIN, KEYS_MAX)?;
        if self.trusted_proxies.len() > PROXIES_MAX {
            let found = self.trusted_proxies.len();
            return Err(Invalid::new(format!(
                "limits.trusted_proxies has {found} entries; there may be at most {PROXIES_MAX}"
            )));
        }
        TrustedProxies::parse(&self.trusted_proxies).map(|_| ())
    }

    /// The quota of a limit; none when it is off.
    pub(super) fn quota(&self, kind: Kind) -> Option<Quota> {
        let (burst, per_minute) = self.numbers(kind);
        Quota::new(burst, per_minute)
    }

    const fn numbers(&self, kind: Kind) -> (u32, u32) {
        match kind {
            Kind::SignUpAddress => (self.sign_up_address_burst, self.sign_up_address_per_minute),
            Kind::LogInAddress => (self.log_in_address_burst, self.log_in_address_per_minute),
            Kind::LogInAccount => (self.log_in_account_burst, self.log_in_account_per_minute),
            Kind::TokenAddress => (self.token_address_burst, self.token_address_per_minute),
            Kind::ClaimAddress => (self.claim_address_burst, self.claim_address_per_minute),
            Kind::ClaimUser => (self.claim_user_burst, self.claim_user_per_minute),
            Kind::OtherAddress => (self.other_address_burst, self.other_address_per_minute),
            Kind::OtherUser => (self.other_user_burst, self.other_user_per_minute),
            Kind::StaffUser => (self.staff_user_burst, self.staff_user_per_minute),
        }
    }
}

fn within<N: Copy + PartialOrd + std::fmt::Display>(
    key: &str,
    number: N,
    min: N,
    max: N,
) -> Result<(), Invalid> {
    if (min..=max).contains(&number) {
        return Ok(());
    }
    Err(Invalid::new(format!("limits.{key} is {number}; it must be from {min} to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults with these keys changed.
    fn with(change: serde_json::Value) -> LimitsConfig {
        serde_json::from_value(change).expect("keys of the section")
    }

    #[test]
    fn the_defaults_are_within_their_bounds() {
        assert_eq!(LimitsConfig::default().check(), Ok(()));
        let off =
            Kind::ALL.into_iter().filter(|kind| LimitsConfig::default().quota(*kind).is_none());
        let off: Vec<_> = off.collect();
        assert_eq!(off, [Kind::ClaimAddress, Kind::OtherAddress], "loads come from one address");
    }

    #[test]
    fn every_limit_is_set_by_the_keys_of_its_name() {
        for kind in Kind::ALL {
            let (burst, rate) =
                (format!("{}_burst", kind.word()), format!("{}_per_minute", kind.word()));
            let config = with(serde_json::json!({ &burst: 7, &rate: 11 }));
            assert_eq!(config.quota(kind), Quota::new(7, 11), "{}", kind.word());
            assert_eq!(with(serde_json::json!({ &burst: 0, &rate: 0 })).quota(kind), None);
            for (key, change) in [
                (&burst, serde_json::json!({ &burst: 1_000_001, &rate: 1 })),
                (&rate, serde_json::json!({ &burst: 1, &rate: 6_000_001 })),
                (&burst, serde_json::json!({ &burst: 0, &rate: 1 })),
                (&rate, serde_json::json!({ &burst: 1, &rate: 0 })),
            ] {
                let refusal = with(change).check().expect_err(key).to_string();
                assert!(refusal.starts_with(&format!("limits.{key} ")), "{refusal}");
            }
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        for (key, change) in [
            ("keys_max", serde_json::json!({"keys_max": 1_023})),
            ("keys_max", serde_json::json!({"keys_max": 4_194_305})),
            ("trusted_proxies", serde_json::json!({"trusted_proxies": ["10.0.0.0/40"]})),
            ("trusted_proxies", serde_json::json!({"trusted_proxies": vec!["10.0.0.1"; 65]})),
        ] {
            let refusal = with(change).check().expect_err(key).to_string();
            assert!(refusal.starts_with(&format!("limits.{key} ")), "{refusal}");
        }
    }
}
