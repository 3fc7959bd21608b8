//! Codes: a permutation that only the key's holder computes.

use std::collections::HashSet;

use firstcome_core::{Code, CodeKey, EventNo, Sequence, limits};
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn key() -> CodeKey {
    CodeKey::new(*b"sixteen bytes ok")
}

fn place(event: u64, sequence: u32) -> (EventNo, Sequence) {
    (EventNo::new(event).expect("a number"), Sequence::parse(sequence.into()).expect("a sequence"))
}

fn code(event: u64, sequence: u32) -> Code {
    let (event, sequence) = place(event, sequence);
    key().code(event, sequence)
}

#[test]
fn a_code_reads_as_three_groups_of_the_alphabet() {
    for sequence in 1..=1_000 {
        let text = code(1, sequence).to_string();
        let groups: Vec<&str> = text.split('-').collect();
        assert_eq!(groups.len(), 3, "{text}");
        for group in groups {
            assert!(group.len() == 4 && group.chars().all(|c| ALPHABET.contains(c)), "{text}");
        }
    }
}

#[test]
fn no_two_of_200_000_places_share_a_code() {
    let mut seen = HashSet::new();
    for event in [0, 1, 2, (1 << limits::EVENT_NO_BITS) - 1] {
        for sequence in (1..=50_000).chain([limits::SEQUENCE_MAX]) {
            assert!(seen.insert(code(event, sequence)), "event {event}, sequence {sequence}");
        }
    }
    assert_eq!(seen.len(), 200_004);
}

/// Guessing a neighbour fails: codes of places side by side differ in most of their characters,
/// and each character turns up about as often as any other.
#[test]
fn neighbours_tell_nothing() {
    let mut counts = [0_u32; 32];
    for sequence in 1..=10_000 {
        let (one, next) = (code(7, sequence).to_string(), code(7, sequence + 1).to_string());
        let alike = one.chars().zip(next.chars()).filter(|(a, b)| a == b && *a != '-').count();
        assert!(alike <= 8, "{one} and {next} are alike");
        for character in one.chars().filter(|c| *c != '-') {
            counts[ALPHABET.find(character).expect("of the alphabet")] += 1;
        }
    }
    // 120,000 characters over 32 values: 3,750 each, standard deviation 60.
    for (value, count) in counts.into_iter().enumerate() {
        assert!((3_300..4_200).contains(&count), "value {value} turned up {count} times");
    }
}

#[test]
fn another_key_makes_other_codes() {
    let other = CodeKey::new(*b"sixteen bytes OK");
    let (event, sequence) = place(1, 1);
    assert_ne!(key().code(event, sequence), other.code(event, sequence));
    let foreign = other.code(event, sequence);
    assert_ne!(key().place(foreign), Some((event, sequence)));
}

/// A code outlives every release. The vectors were computed by another implementation: Python, with
/// AES by the OpenSSL command.
#[test]
fn a_code_never_changes() {
    assert_eq!(code(1, 1).to_string(), "VJ3Q-NECY-R936");
    assert_eq!(code(123_456, 7_890_123).to_string(), "TVF4-V9MK-25KK");
}

#[test]
fn a_code_is_read_as_people_type_it() {
    let plain = Code::parse("01AB-CDEF-0110").expect("a code");
    for text in [
        "01ab-cdef-0110",
        "01ABCDEF0110",
        "OIab-cdef-oLlO",
        "olab-CDEF-Oiio",
        "0-1-A-B-C-D-E-F-0-1-1-0",
        "-01ABCDEF0110-",
    ] {
        assert_eq!(Code::parse(text), Some(plain), "{text}");
    }
    assert_eq!(plain.to_string(), "01AB-CDEF-0110");
}

#[test]
fn what_is_no_code() {
    for text in [
        "",
        "-",
        "01AB-CDEF-011",
        "01AB-CDEF-01100",
        "01AB-CDEF-011U",
        "01AB-CDEF-011!",
        "01AB CDEF 0110",
        "01AB-CDEF-011쿠",
        "😀😀😀",
        "01AB\0CDEF0110",
        "01AB-CDEF-0110\n",
    ] {
        assert_eq!(Code::parse(text), None, "{text:?}");
    }
    assert_eq!(Code::parse(&"-".repeat(100_000)), None);
    assert_eq!(Code::parse(&"0".repeat(100_000)), None);
}

#[test]
fn neither_code_nor_key_is_in_a_debug_text() {
    let code = code(1, 1);
    assert_eq!(format!("{code:?} {:?}", key()), "Code(hidden) CodeKey(hidden)");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_code_leads_back_to_its_place(
        secret in any::<[u8; 16]>(),
        event in 0..1_u64 << limits::EVENT_NO_BITS,
        sequence in 1..=limits::SEQUENCE_MAX,
    ) {
        let (event, sequence) = place(event, sequence);
        let key = CodeKey::new(secret);
        let code = key.code(event, sequence);
        prop_assert_eq!(key.place(code), Some((event, sequence)));
        prop_assert_eq!(Code::parse(&code.to_string()), Some(code));
    }

    /// The other way round: a permutation of all 60-bit numbers, so whatever is typed either has
    /// no place or is the code of the place that it leads to.
    #[test]
    fn a_place_leads_back_to_its_code(letters in "[0-9A-HJKMNP-TV-Z]{12}") {
        let typed = [&letters[..4], &letters[4..8], &letters[8..]].join("-");
        let code = Code::parse(&typed).expect("of the alphabet");
        prop_assert_eq!(code.to_string(), typed);
        if let Some((event, sequence)) = key().place(code) {
            prop_assert_eq!(key().code(event, sequence), code);
        }
    }
}
