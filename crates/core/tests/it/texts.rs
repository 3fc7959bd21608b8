//! Texts that people and programs send: bounds, Korean, emoji, control characters.

use std::fmt::Debug;

use firstcome_core::{Currency, Email, Invalid, Label, Name, OrderId, Password};

#[track_caller]
fn check_refused<T: Debug>(parse: fn(&str) -> Result<T, Invalid>, sentence: &str, texts: &[&str]) {
    for text in texts {
        let refused = parse(text).expect_err(text);
        assert_eq!(refused.to_string(), sentence, "of {text:?}");
    }
}

/// A line of text of at most `chars_max` characters.
fn check_line<T: Debug + AsStr>(parse: fn(&str) -> Result<T, Invalid>, chars_max: usize) {
    let ascii = "n".repeat(chars_max);
    let korean = "쿠".repeat(chars_max);
    let emoji = "😀".repeat(chars_max);
    for (text, expected) in [
        ("n", "n"),
        (" \u{3000}블랙 프라이데이 5,000원\u{a0} ", "블랙 프라이데이 5,000원"),
        ("\u{feff}bom", "\u{feff}bom"),
        ("👨‍👩‍👧‍👦", "👨‍👩‍👧‍👦"),
        ("<script>'\"--", "<script>'\"--"),
        (&ascii, &ascii),
        (&korean, &korean),
        (&emoji, &emoji),
        (&format!("  {korean}  "), &korean),
    ] {
        assert_eq!(parse(text).expect(text).text(), expected);
    }

    let (ascii, korean, emoji) = (ascii + "n", korean + "폰", emoji + "😀");
    let sentence = format!("must be 1 to {chars_max} characters");
    let refused = ["", " ", "\u{3000}\u{2003}", &ascii, &korean, &emoji];
    check_refused(parse, &sentence, &refused);
    let control = ["\0", "a\0b", "\n", "a\nb", "a\n", "\ta", "a\u{7f}", "a\u{85}b", "a\u{1b}[2J"];
    check_refused(parse, "must have no control characters", &control);
}

trait AsStr {
    fn text(&self) -> &str;
}

impl AsStr for Name {
    fn text(&self) -> &str {
        self.as_str()
    }
}

impl AsStr for Label {
    fn text(&self) -> &str {
        self.as_str()
    }
}

#[test]
fn names_and_labels() {
    check_line(Name::parse, 100);
    check_line(Label::parse, 200);
}

#[test]
fn an_email_is_held_in_lower_case() {
    let longest = format!("{}@example.com", "a".repeat(242));
    assert_eq!(longest.chars().count(), 254);
    for (text, expected) in [
        ("a@b", "a@b"),
        ("Min.Su+Drop@Example.COM", "min.su+drop@example.com"),
        ("민수@예시.한국", "민수@예시.한국"),
        (&longest, &longest),
    ] {
        assert_eq!(Email::parse(text).expect(text).as_str(), expected);
    }
}

#[test]
fn what_is_no_email() {
    let shape = "must be an e-mail address, as name@example.com";
    let texts = [
        "",
        "@",
        "a",
        "a@",
        "@b",
        "a@@b",
        "a@b@c",
        "a@b..c",
        "a@.b",
        "a@b.",
        "a b@c",
        "a@b c",
        " a@b",
        "a@b ",
        "a@b\n",
        "a\0@b",
        "a@b\u{3000}",
        "a@b\u{7f}",
    ];
    check_refused(Email::parse, shape, &texts);
    let long = format!("{}@example.com", "a".repeat(243));
    check_refused(Email::parse, "must be at most 254 characters", &[&long]);
}

/// One capital letter becomes two characters in lower case: what is stored keeps the bound too.
#[test]
fn an_email_is_counted_in_lower_case() {
    let text = format!("{}@example.com", "İ".repeat(122));
    assert!(Email::parse(&text).is_err());
    assert!(Email::parse(&text.replacen('İ', "", 1)).is_ok());
}

#[test]
fn an_order_id_is_visible_ascii() {
    let longest = "9".repeat(64);
    for text in ["o", "ORD-2026/11/27#1", "~!", longest.as_str()] {
        assert_eq!(OrderId::parse(text).expect(text).as_str(), text);
    }
    let too_long = "9".repeat(65);
    let texts = ["", " ", "a b", "a\t", "a\n", "\0", "\u{7f}", "주문", "😀", "é", &too_long];
    check_refused(OrderId::parse, "must be 1 to 64 visible ASCII characters", &texts);
}

#[test]
fn a_currency_is_of_iso_4217() {
    for text in ["KRW", "USD", "JPY", "EUR"] {
        assert_eq!(Currency::parse(text).expect(text).as_str(), text);
    }
    assert_eq!(Currency::krw().as_str(), "KRW");
    let texts =
        ["", "krw", "Krw", "KR", "KRWW", "ZZZ", "410", "원", "💰💰💰", " KRW", "KRW ", "\0\0\0"];
    check_refused(Currency::parse, "must be an ISO 4217 currency code, as KRW", &texts);
}

#[test]
fn a_password_is_counted_in_characters_and_taken_as_it_is() {
    let (longest, emoji) = ("p".repeat(128), "🔑".repeat(128));
    for text in ["12345678", "        ", "비밀번호여덟글자", " a\tb\0c\u{1b} ", &longest, &emoji]
    {
        assert_eq!(Password::parse(text).expect("a password").expose(), text);
    }
    let (long, long_emoji) = (longest + "p", emoji + "🔑");
    let texts = ["", "1234567", "비밀번호일곱자", "🔑🔑🔑🔑🔑🔑🔑", &long, &long_emoji];
    check_refused(Password::parse, "must be 8 to 128 characters", &texts);
}

#[test]
fn a_password_is_never_shown() {
    let password = Password::parse("correct horse").expect("a password");
    assert!(!format!("{password:?}").contains("horse"));
}
