//! Writes XML.

use std::fmt::{Display, Write as _};

use time::OffsetDateTime;

/// What stands inside an answer: elements in the order they are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Xml {
    text: String,
}

impl Xml {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An answer that only says it is done: `<return>true</return>`.
    #[must_use]
    pub fn done() -> Self {
        let mut xml = Self::new();
        xml.value("return", true);
        xml
    }

    /// `<name>text</name>`, escaped.
    pub fn text(&mut self, name: &str, text: impl AsRef<str>) -> &mut Self {
        self.open(name);
        escape(text.as_ref(), &mut self.text);
        self.close(name)
    }

    /// As [`Xml::text`], or nothing where the text is empty.
    pub fn filled(&mut self, name: &str, text: impl AsRef<str>) -> &mut Self {
        if text.as_ref().is_empty() { self } else { self.text(name, text) }
    }

    /// `<name>value</name>` of a number or truth value.
    pub fn value(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.text(name, value.to_string())
    }

    /// As [`Xml::value`], or nothing.
    pub fn maybe(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.value(name, value),
            None => self,
        }
    }

    /// A time as `2027-01-31T23:59:59.000Z`.
    pub fn time(&mut self, name: &str, at: OffsetDateTime) -> &mut Self {
        self.text(name, crate::stamp::iso(at))
    }

    /// `<name>…</name>` with what `inside` adds.
    pub fn node(&mut self, name: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.open(name);
        inside(self);
        self.close(name)
    }

    /// `<name/>`.
    pub fn empty(&mut self, name: &str) -> &mut Self {
        let _infallible = write!(self.text, "<{name}/>");
        self
    }

    /// EC2's lists: `<name><item>…</item></name>`, `<name/>` if there are none.
    pub fn items<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        item: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.list(name, "item", items, item)
    }

    /// The lists of the other Query services, whose elements are `<member>`.
    pub fn members<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        member: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.list(name, "member", items, member)
    }

    fn list<T>(
        &mut self,
        name: &str,
        element: &str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return self.empty(name);
        }
        self.open(name);
        for item in items {
            self.open(element);
            each(self, item);
            self.close(element);
        }
        self.close(name)
    }

    /// The elements as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Adds what another has.
    pub fn append(&mut self, other: &Self) -> &mut Self {
        self.text.push_str(&other.text);
        self
    }

    fn open(&mut self, name: &str) {
        let _infallible = write!(self.text, "<{name}>");
    }

    fn close(&mut self, name: &str) -> &mut Self {
        // An attribute is not part of the closing tag.
        let name = name.split(' ').next().unwrap_or(name);
        let _infallible = write!(self.text, "</{name}>");
        self
    }
}

/// Text as XML has it. What XML can't hold at all becomes U+FFFD; a carriage
/// return is kept from readers that would make a line feed of it.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_items_and_empty_ones_are_empty_elements() {
        let mut xml = Xml::new();
        xml.items("tagSet", ["a", "b"], |xml, key| {
            xml.text("key", key);
        })
        .items("none", Vec::<u8>::new(), |_, _| {});
        let wanted = "<tagSet><item><key>a</key></item><item><key>b</key></item></tagSet><none/>";
        assert_eq!(xml.as_str(), wanted);
    }

    #[test]
    fn nothing_a_customer_writes_breaks_out() {
        let mut xml = Xml::new();
        xml.text("v", "</v>&\"'\u{0}\u{1b}\r\n\t\u{ffff}é");
        let wanted = "<v>&lt;/v&gt;&amp;&quot;&apos;\u{fffd}\u{fffd}&#13;\n\t\u{fffd}é</v>";
        assert_eq!(xml.as_str(), wanted);
    }
}
