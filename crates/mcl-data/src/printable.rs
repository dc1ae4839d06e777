//! Names from elsewhere, made safe to print.
//!
//! A file name may hold a line break, which forges a line of output, an escape sequence, which steers the
//! terminal, or bidirectional marks, which reorder the text around them.

use std::ffi::OsStr;
use std::fmt::Write;

/// Returns a name, path or message for a terminal, a log or an error: every control character, bidirectional
/// mark and line separator as an escape (`\n`, `\u{1b}`), and every byte that is not UTF-8 as `\xE4`. All
/// other characters stay.
///
/// Applied twice, the second time changes nothing.
///
/// ```
/// use mcl_data::printable;
///
/// assert_eq!(printable("Mäuse/1.png"), "Mäuse/1.png");
/// assert_eq!(printable("ok\nall pictures are normal"), r"ok\nall pictures are normal");
/// ```
#[must_use]
pub fn printable(name: impl AsRef<OsStr>) -> String {
    escaped(name.as_ref(), steers)
}

/// Returns a name or path for a file that is UTF-8 and escapes by its own rules, as JSON does: every byte
/// that is not UTF-8 as `\xE4`. All characters stay, control characters too.
#[must_use]
pub fn utf8_name(name: impl AsRef<OsStr>) -> String {
    escaped(name.as_ref(), |_| false)
}

/// Returns a name or path for a cell of a table that a spreadsheet may open, as [`utf8_name`]: one that begins with `=`, `+`, `-`,
/// `@`, a tab or a carriage return gets a `'` before it, so that no spreadsheet takes it for a formula.
///
/// ```
/// use mcl_data::cell_name;
///
/// assert_eq!(cell_name("=HYPERLINK(1)"), "'=HYPERLINK(1)");
/// assert_eq!(cell_name("a=b.png"), "a=b.png");
/// ```
#[must_use]
pub fn cell_name(name: impl AsRef<OsStr>) -> String {
    let name = utf8_name(name);
    if name.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{name}") } else { name }
}

fn escaped(name: &OsStr, escape: impl Fn(char) -> bool) -> String {
    let bytes = name.as_encoded_bytes();
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if escape(c) { out.extend(c.escape_default()) } else { out.push(c) }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02X}").expect("a string takes it");
        }
    }
    out
}

/// Whether a character changes what other text looks like, or where it stands.
fn steers(c: char) -> bool {
    let bidirectional = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || bidirectional || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_letters_stay() {
        let cases = [
            ("Grüße/写真 1.png", "Grüße/写真 1.png"),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[2J", r"\u{1b}[2J"),
            ("\u{9b}2J\u{7f}", r"\u{9b}2J\u{7f}"),
            ("gpj.\u{202e}exe\u{2066}", r"gpj.\u{202e}exe\u{2066}"),
            ("line\u{2028}line", r"line\u{2028}line"),
        ];
        for (name, expected) in cases {
            assert_eq!(printable(name), expected);
            assert_eq!(printable(printable(name)), expected, "a second time");
            assert_eq!(utf8_name(name), name);
        }
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text_stay_apart() {
        use std::os::unix::ffi::OsStrExt;
        let name = |bytes| printable(OsStr::from_bytes(bytes));
        assert_eq!(name(b"M\xe4use\n"), r"M\xE4use\n");
        assert_ne!(name(b"M\xe4use"), name(b"M\xf6use"));
        assert_eq!(utf8_name(OsStr::from_bytes(b"M\xe4use\n")), "M\\xE4use\n");
    }
}
