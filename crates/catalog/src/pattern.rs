//! The wildcards of filter values: `*` for any text, `?` for one character, a
//! backslash before what is meant as it stands.

/// A compiled pattern.
///
/// Matching never goes back further than to the last star, so it costs at most
/// the text's length times that of the longest piece between two stars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What stands before the first star.
    first: Vec<Piece>,
    /// What stands after each star; only the last one may be empty.
    rest: Vec<Vec<Piece>>,
    /// How many characters a text must have at least.
    shortest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Char(char),
    Any,
}

impl Pattern {
    #[must_use]
    pub fn new(text: &str) -> Self {
        let (mut first, mut rest) = (Vec::new(), Vec::<Vec<Piece>>::new());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let piece = match c {
                '*' => {
                    // Two stars side by side are as good as one.
                    if rest.last().is_none_or(|last| !last.is_empty()) {
                        rest.push(Vec::new());
                    }
                    continue;
                }
                '?' => Piece::Any,
                '\\' => Piece::Char(chars.next().unwrap_or('\\')),
                c => Piece::Char(c),
            };
            rest.last_mut().unwrap_or(&mut first).push(piece);
        }
        let shortest = first.len() + rest.iter().map(Vec::len).sum::<usize>();
        Self { first, rest, shortest }
    }

    /// The text that alone matches, if there is only one.
    #[must_use]
    pub fn literal(&self) -> Option<String> {
        if !self.rest.is_empty() {
            return None;
        }
        let char = |piece: &Piece| match piece {
            Piece::Char(c) => Some(*c),
            Piece::Any => None,
        };
        self.first.iter().map(char).collect()
    }

    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        // Characters are never more than bytes.
        if self.shortest > text.len() {
            return false;
        }
        let text: Vec<char> = text.chars().collect();
        if self.shortest > text.len() {
            return false;
        }
        let first = &self.first;
        let Some((last, middle)) = self.rest.split_last() else {
            return first.len() == text.len() && fits(first, &text);
        };
        if !fits(first, &text) || !fits(last, &text[text.len() - last.len()..]) {
            return false;
        }
        let mut left = &text[first.len()..text.len() - last.len()];
        for piece in middle {
            let found = (0..=left.len().saturating_sub(piece.len()))
                .find(|at| left.len() >= piece.len() && fits(piece, &left[*at..]));
            let Some(at) = found else { return false };
            left = &left[at + piece.len()..];
        }
        true
    }
}

/// Whether `text` begins with `piece`; it is at least as long.
fn fits(piece: &[Piece], text: &[char]) -> bool {
    piece.iter().zip(text).all(|(piece, c)| match piece {
        Piece::Char(wanted) => wanted == c,
        Piece::Any => true,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the wildcards mean, without regard to cost.
    fn model(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|at| model(rest, &text[at..])),
            ['?', rest @ ..] => !text.is_empty() && model(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && model(rest, &text[1..]),
        }
    }

    #[test]
    fn stars_question_marks_and_backslashes() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "abc", true),
            ("a*", "a", true),
            ("*a", "ba", true),
            ("a*a", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "é", true),
            ("debian-*-amd64", "debian-12-amd64", true),
            ("Debian*", "debian", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            (r"a\", r"a\", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} {text}");
        }
        assert_eq!(Pattern::new(r"a\?b").literal().as_deref(), Some("a?b"));
        assert_eq!(Pattern::new("a?b").literal(), None);
        assert_eq!(Pattern::new("a*").literal(), None);
    }

    #[test]
    fn long_runs_of_wildcards_stay_cheap() {
        let pattern = Pattern::new(&"*?".repeat(500_000));
        assert!(!pattern.matches(&"a".repeat(255)));
        let pattern = Pattern::new(&["*a".repeat(120), "b".into()].concat());
        assert!(!pattern.matches(&"a".repeat(255)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_model(pattern in "[ab*?]{0,10}", text in "[ab]{0,12}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = model(&chars(&pattern), &chars(&text));
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), expected);
        }
    }
}
