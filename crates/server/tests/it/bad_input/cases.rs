//! What is sent for each member, and what it must be answered.

use super::targets::{Kind, Member, Target};

/// One body that is wrong in one place.
pub(super) struct Case {
    pub(super) what: String,
    pub(super) bytes: Vec<u8>,
    /// Any of these statuses is documented for it.
    pub(super) expected: &'static [u16],
    /// What a 422 must name.
    pub(super) pointer: Option<String>,
}

/// Stands in a body for a value that JSON libraries do not write.
const MARK: &str = "@@";
const MALFORMED: &[u16] = &[400];
const WRONG_TYPE: &[u16] = &[400, 422];
const OUT_OF_RANGE: &[u16] = &[422];
const UNKNOWN_CODE: &[u16] = &[404];

/// Every case of one call.
pub(super) fn cases(target: &Target) -> Vec<Case> {
    let mut cases = whole_bodies(target);
    for member in &target.members {
        cases.extend(values(target, member));
        cases.extend(spoilt_member(target, member));
    }
    cases
}

/// The target's body with these raw bytes as the value of the member.
fn with_raw(target: &Target, pointer: &str, raw: &[u8]) -> Vec<u8> {
    let marked = target.body.clone().with(pointer, MARK).json().to_string();
    let (before, after) = marked.split_once(&format!("\"{MARK}\"")).expect("the mark");
    [before.as_bytes(), raw, after.as_bytes()].concat()
}

/// Values of the member that are wrong.
fn values(target: &Target, member: &Member) -> Vec<Case> {
    let mut raws: Vec<(String, &'static [u16])> = Vec::new();
    let wrong_types: &[&str] = match member.kind {
        Kind::Integer { .. } => &["1.5", "1e3", "18446744073709551616", "1e999", "\"1\"", "true"],
        Kind::Text(_) | Kind::Word | Kind::Code => &["0", "-1", "1.5", "true", "9007199254740993"],
        Kind::Object => &["0", "\"x\"", "true", "[]", "1.5"],
        Kind::List => &["0", "\"x\"", "true", "{}", "[0]", "[null]", "[[]]"],
    };
    for raw in wrong_types.iter().chain(&["null", "[1]", "{\"a\":1}"]) {
        if !(member.kind == Kind::Object && *raw == "{\"a\":1}") {
            raws.push(((*raw).to_owned(), WRONG_TYPE));
        }
    }
    match member.kind {
        Kind::Integer { min } => {
            let out: &[i128] = &[-1, (1 << 53) + 1, 1 << 63, -(1 << 63), (1 << 64) - 1];
            let out = out.iter().copied().chain((min > 0).then_some(0));
            raws.extend(out.map(|number| (number.to_string(), OUT_OF_RANGE)));
        }
        Kind::Text(bad) => {
            for text in bad {
                raws.push((serde_json::Value::from(*text).to_string(), OUT_OF_RANGE));
            }
            raws.push((format!("\"{}\"", "쿠".repeat(300)), OUT_OF_RANGE));
        }
        Kind::Word => {
            for text in ["", "x", "쿠폰", "😀", "\u{7}", "LEDGER"] {
                raws.push((serde_json::Value::from(text).to_string(), WRONG_TYPE));
            }
        }
        Kind::Code => {
            for text in ["", "x", "쿠폰", "😀😀", "\u{7}", "0000-0000-0000"] {
                raws.push((serde_json::Value::from(text).to_string(), UNKNOWN_CODE));
            }
        }
        Kind::Object | Kind::List => {}
    }
    let case = |(raw, expected): (String, &'static [u16])| Case {
        what: format!("{} = {}", member.pointer, raw.chars().take(40).collect::<String>()),
        bytes: with_raw(target, member.pointer, raw.as_bytes()),
        expected,
        pointer: (expected == OUT_OF_RANGE).then(|| member.pointer.to_owned()),
    };
    raws.into_iter().map(case).collect()
}

/// The member missing, twice, beside one that nobody knows, and in bytes that are no text.
fn spoilt_member(target: &Target, member: &Member) -> Vec<Case> {
    let pointer = member.pointer;
    let case = |what: &str, bytes: Vec<u8>, expected| Case {
        what: format!("{pointer} {what}"),
        bytes,
        expected,
        pointer: None,
    };
    let name = pointer.rsplit('/').next().expect("a name");
    let twice = format!("{MARK}\",\"{name}\":\"{MARK}");
    let twice = target.body.clone().with(pointer, "##").json().to_string().replace("##", &twice);
    let unknown = format!("{pointer}_unknown");
    let mut cases = vec![
        case("twice", twice.into_bytes(), MALFORMED),
        case(
            "and an unknown one",
            target.body.clone().with(&unknown, 1).json().to_string().into(),
            MALFORMED,
        ),
        case("is no UTF-8", with_raw(target, pointer, b"\"\xff\xfe\""), MALFORMED),
        case("is half a character", with_raw(target, pointer, b"\"\xec\xbf\""), MALFORMED),
        case("has a raw control character", with_raw(target, pointer, b"\"a\nb\""), MALFORMED),
        case("has a lone surrogate", with_raw(target, pointer, br#""\ud800""#), MALFORMED),
        case("is no JSON", with_raw(target, pointer, b"NaN"), MALFORMED),
        case("is nothing", with_raw(target, pointer, b""), MALFORMED),
        case("is deep", with_raw(target, pointer, &nested(65)), MALFORMED),
    ];
    if member.required {
        let missing = target.body.clone().without(pointer).json().to_string();
        cases.push(case("is missing", missing.into_bytes(), WRONG_TYPE));
    }
    cases
}

/// Arrays in arrays, this deep.
fn nested(depth: usize) -> Vec<u8> {
    ("[".repeat(depth) + &"]".repeat(depth)).into_bytes()
}

/// Bodies that are wrong as a whole.
fn whole_bodies(target: &Target) -> Vec<Case> {
    let good = target.body.json().to_string();
    let case = |what: &str, bytes: Vec<u8>, expected| Case {
        what: format!("the body is {what}"),
        bytes,
        expected,
        pointer: None,
    };
    vec![
        case("cut", good.as_bytes()[..good.len() - 1].to_vec(), MALFORMED),
        case("followed by more", format!("{good}{{}}").into_bytes(), MALFORMED),
        case("preceded by a mark", format!("\u{feff}{good}").into_bytes(), MALFORMED),
        case("in UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect(), MALFORMED),
        case("with a comment", format!("/* x */ {good}").into_bytes(), MALFORMED),
        case("text", b"x".to_vec(), MALFORMED),
        case("null", b"null".to_vec(), WRONG_TYPE),
        case("a list", format!("[{good}]").into_bytes(), WRONG_TYPE),
        case("a number", b"9223372036854775808".to_vec(), WRONG_TYPE),
        case("65 deep", nested(65), MALFORMED),
        case("30,000 deep", nested(30_000), MALFORMED),
        case("100,000 deep", nested(100_000), &[413]),
        case("zeros", vec![0; 100], MALFORMED),
        case("one byte", vec![0xff], MALFORMED),
    ]
}
