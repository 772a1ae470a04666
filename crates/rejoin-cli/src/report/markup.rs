//! Writes HTML and SVG that is also XML: elements that are closed in order, texts that cannot leave their place, numbers
//! that are numbers.

use std::fmt::{self, Display, Write};

/// Attributes: names and values.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

/// A page under way.
#[derive(Debug, Default)]
pub(crate) struct Markup {
    text: String,
    open: Vec<&'static str>,
}

impl Markup {
    /// Opens an element.
    pub(crate) fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.tag(name, attributes);
        self.text.push('>');
        self.open.push(name);
    }

    /// Closes the element opened last.
    pub(crate) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.text.push_str("</");
            self.text.push_str(name);
            self.text.push('>');
            if matches!(name, "figure" | "section" | "svg" | "tr" | "table" | "details" | "style" | "head") {
                self.text.push('\n');
            }
        }
    }

    /// An element with nothing in it; in HTML only where it may have nothing.
    pub(crate) fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.tag(name, attributes);
        self.text.push_str("/>");
    }

    /// A text, which stays a text whatever is in it.
    pub(crate) fn words(&mut self, text: &str) {
        escape(&mut self.text, text);
    }

    /// An element with a text in it.
    pub(crate) fn element(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.open(name, attributes);
        self.words(text);
        self.close();
    }

    /// What is markup already, made by this program.
    pub(crate) fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The page; whatever is open is closed.
    pub(crate) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }

    fn tag(&mut self, name: &str, attributes: Attributes<'_>) {
        self.text.push('<');
        self.text.push_str(name);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(&mut self.text, &value.to_string());
            self.text.push('"');
        }
    }
}

fn escape(into: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            '\n' | '\t' => into.push(' '),
            // XML has no room for these, and a right-to-left override could make a text say something else.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                into.push('\u{fffd}');
            }
            '\u{fffe}' | '\u{ffff}' => into.push('\u{fffd}'),
            c => into.push(c),
        }
    }
}

/// JSON for the inside of a script element: nothing in it can end the element or begin a comment.
pub(crate) fn json_in_script(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + json.len() / 16);
    for c in json.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            '\u{7f}'..='\u{9f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text
}

/// A number with two digits after the point at most, and never `NaN`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(pub(crate) f64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.0.is_finite() { (self.0 * 100.0).round() / 100.0 } else { 0.0 };
        // Minus zero is no number anybody expects.
        write!(f, "{}", if value == 0.0 { 0.0 } else { value })
    }
}

/// A share of the width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Percent(pub(crate) f64);

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", Number(self.0 * 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_text_stays_a_text() {
        let mut page = Markup::default();
        page.open("p", &[("title", &"\"><script>alert(1)</script>")]);
        page.words("</p><script>&\u{0}\u{202e}");
        let page = page.finish();
        assert_eq!(
            page,
            "<p title=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\">\
             &lt;/p&gt;&lt;script&gt;&amp;\u{fffd}\u{fffd}</p>"
        );
        let json = json_in_script("{\"t\":\"</script><!--\u{2028}&\"}");
        assert!(!json.contains('<') && !json.contains('&') && !json.contains('\u{2028}'), "{json}");
        let back: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(back["t"], "</script><!--\u{2028}&");
    }

    #[test]
    fn numbers_are_short_and_finite() {
        let shown = |value| Number(value).to_string();
        assert_eq!(shown(1.0 / 3.0), "0.33");
        assert_eq!(
            (shown(f64::NAN), shown(f64::INFINITY), shown(-0.001)),
            ("0".into(), "0".into(), "0".into())
        );
        assert_eq!(Percent(0.12345).to_string(), "12.35%");
    }
}
