//! Text that goes into HTML.

use mcl_data::printable;

/// With the characters that mean something to HTML replaced, in text and in quoted attributes. Control
/// characters, which HTML does not allow, and bidirectional marks become escapes; line breaks and tabs stay.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_ascii_graphic() || c == ' ' => out.push(c),
            c => out.push_str(&printable(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out
}

/// A score or loss with about four digits.
pub(super) fn number(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 1e6 || (size < 1e-3 && size > 0.0) => format!("{value:.2e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_becomes_markup() {
        assert_eq!(
            escape("<a href=\"x\" b='&'>\u{1}ä\u{202e}"),
            r"&lt;a href=&quot;x&quot; b=&#39;&amp;&#39;&gt;\u{1}ä\u{202e}"
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [number(-1234.5), number(12.345), number(0.5), number(0.0)],
            ["−1234", "12.3", "0.500", "0.000"]
        );
        assert_eq!(number(1e-5), "1.00e−5");
    }
}
