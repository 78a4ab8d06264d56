//! The text of a configuration file: lines and columns, and the problems that are found in it.
//!
//! Parses TOML as far as it can be parsed; knows nothing of what the keys mean.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::DeTable;

use super::problem::{self, Place, Problem, Severity};

/// A text with its name and the places where its lines start.
pub(super) struct Source<'a> {
    name: &'a str,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Source { name, text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// The line of a byte offset, from 1.
    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    fn place(&self, at: &Range<usize>) -> Place {
        let offset = at.start.min(self.text.len());
        let line = self.line(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let text = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        let count = |from: usize, to: usize| {
            self.text
                .as_bytes()
                .get(from..to)
                .map_or(0, |b| String::from_utf8_lossy(b).chars().count())
        };
        let end = at.end.clamp(offset, start + text.len().max(offset - start));
        Place {
            line,
            column: count(start, offset) + 1,
            width: count(offset, end).max(1),
            text: problem::shown(text),
        }
    }
}

/// Collects what is wrong with one file.
pub(super) struct Problems<'a> {
    source: Source<'a>,
    found: RefCell<Vec<(usize, Problem)>>,
    /// Lines with syntax errors: what else is wrong there follows from them.
    broken: BTreeSet<usize>,
}

impl<'a> Problems<'a> {
    /// Parses the text; syntax errors are the first problems, and what could be read is the table.
    pub(super) fn parse(source: Source<'a>) -> (DeTable<'a>, Self) {
        let (table, errors) = DeTable::parse_recoverable(source.text);
        let mut problems = Problems { source, found: RefCell::default(), broken: BTreeSet::new() };
        for error in errors {
            let at = error.span().unwrap_or(0..0);
            // One per line: the parser's next ones follow from the first.
            if problems.broken.insert(problems.source.line(at.start)) {
                problems.push(Severity::Error, &at, error.message().to_owned(), None);
            }
        }
        (table.into_inner(), problems)
    }

    /// Something is wrong at `at`.
    pub(super) fn error(&self, at: &Range<usize>, message: impl Into<String>) {
        self.suggest(at, message, None);
    }

    /// Something is wrong at `at`, and `suggestion` was probably meant.
    pub(super) fn suggest(
        &self,
        at: &Range<usize>,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        if !self.broken.contains(&self.source.line(at.start)) {
            self.push(Severity::Error, at, message.into(), suggestion);
        }
    }

    /// Something is not there. Not said of a file with syntax errors: it may be what was not understood.
    pub(super) fn missing(&self, at: &Range<usize>, message: impl Into<String>) {
        if self.broken.is_empty() {
            self.push(Severity::Error, at, message.into(), None);
        }
    }

    /// What is wrong with another file, which is named at `at`.
    pub(super) fn include(&self, at: &Range<usize>, others: Vec<Problem>) {
        self.found.borrow_mut().extend(others.into_iter().map(|other| (at.start, other)));
    }

    /// Something is allowed but strange.
    pub(super) fn warn(&self, at: &Range<usize>, message: impl Into<String>) {
        self.push(Severity::Warning, at, message.into(), None);
    }

    /// All problems, in the order of the file.
    pub(super) fn finish(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, problem)| problem).collect()
    }

    fn push(
        &self,
        severity: Severity,
        at: &Range<usize>,
        message: String,
        suggestion: Option<String>,
    ) {
        let problem = Problem {
            severity,
            file: self.source.name.to_owned(),
            place: Some(self.source.place(at)),
            message,
            suggestion,
        };
        self.found.borrow_mut().push((at.start, problem));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, at: Range<usize>) -> (usize, usize, usize) {
        let place = Source::new("x", text).place(&at);
        (place.line, place.column, place.width)
    }

    #[test]
    fn columns_are_characters() {
        assert_eq!(place("é = 1\nü = 2", 3..4), (1, 3, 1));
        assert_eq!(place("é = 1\nü = 2", 7..9), (2, 1, 1));
    }

    #[test]
    fn a_stretch_over_several_lines_is_marked_on_its_first() {
        assert_eq!(place("a = [\n1,\n]", 4..10), (1, 5, 1));
    }

    #[test]
    fn places_outside_the_text_are_its_end() {
        assert_eq!(place("", 0..0), (1, 1, 1));
        assert_eq!(place("a\n", 7..9), (2, 1, 1));
        assert_eq!(place("a", 1..1), (1, 2, 1));
    }

    #[test]
    fn every_broken_line_is_reported_once() {
        let (_, problems) = Problems::parse(Source::new("x", "a = \nb = 1\nc = [1,,2]\nd = tru\n"));
        let lines: Vec<_> =
            problems.finish().iter().map(|p| p.place.clone().unwrap().line).collect();
        assert_eq!(lines, [1, 3, 4]);
    }
}
