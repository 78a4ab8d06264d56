//! Reads one table of the file: refuses keys that [`super::keys`] does not list, and turns each wrong
//! value into a problem at its place. Never stops at the first.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::Problems;
use super::keys::{self, Section};
use super::values::{self, Read};

/// A table that is being read.
pub(super) struct Reader<'a> {
    section: &'static Section,
    table: Option<&'a DeTable<'a>>,
    /// The header, or where the table would be missed.
    pub(super) at: Range<usize>,
    problems: &'a Problems<'a>,
}

impl<'a> Reader<'a> {
    /// Opens a table; every key that `section` does not list becomes a problem.
    pub(super) fn open(
        section: &'static Section,
        table: &'a DeTable<'a>,
        at: Range<usize>,
        problems: &'a Problems<'a>,
    ) -> Self {
        for (key, _) in table.iter() {
            if !section.keys.contains(&key.get_ref().as_ref()) {
                unknown_key(section, key, problems);
            }
        }
        Reader { section, table: Some(table), at, problems }
    }

    /// The value of `key` with its place, if it is there and right.
    pub(super) fn read_at<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'a>) -> Read<T>,
    ) -> Option<Spanned<T>> {
        let value = self.raw(key)?;
        match read(value.get_ref()) {
            Ok(found) => Some(Spanned::new(value.span(), found)),
            Err(complaint) => {
                let message = format!("{key}: {}", complaint.message);
                self.problems.suggest(&value.span(), message, complaint.suggestion);
                None
            }
        }
    }

    /// The value of `key`, if it is there and right.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'a>) -> Read<T>,
    ) -> Option<T> {
        self.read_at(key, read).map(Spanned::into_inner)
    }

    /// The value of `key`; `default` if it is not there (or wrong: then no configuration comes of it).
    pub(super) fn or<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'a>) -> Read<T>,
        default: T,
    ) -> T {
        self.read(key, read).unwrap_or(default)
    }

    /// The value of `key`, which must be there.
    pub(super) fn require<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'a>) -> Read<T>,
    ) -> Option<Spanned<T>> {
        if self.raw(key).is_none() {
            self.problems
                .missing(&self.at, format!("{key:?} is missing in {}", self.section.title));
        }
        self.read_at(key, read)
    }

    /// The table `key`, if it is there; a value that is no table is a problem.
    pub(super) fn table(&self, key: &'static str, section: &'static Section) -> Option<Self> {
        let value = self.raw(key)?;
        let table = self.as_table(key, value)?;
        Some(Reader::open(section, table, value.span(), self.problems))
    }

    /// The table `key`; an empty one if it is not there.
    pub(super) fn table_or_empty(&self, key: &'static str, section: &'static Section) -> Self {
        self.table(key, section).unwrap_or(Reader {
            section,
            table: None,
            at: self.at.clone(),
            problems: self.problems,
        })
    }

    /// The list of tables `key`; empty if it is not there.
    pub(super) fn tables(&self, key: &'static str, section: &'static Section) -> Vec<Self> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        if value.get_ref().as_table().is_some() {
            let title = self.title_of(key);
            self.problems.error(
                &value.span(),
                format!("{key} is a list of tables: write [[{title}]], not [{title}]"),
            );
            return Vec::new();
        }
        self.items(key)
            .into_iter()
            .filter_map(|item| {
                let table = self.as_table(key, item)?;
                Some(Reader::open(section, table, item.span(), self.problems))
            })
            .collect()
    }

    /// The items of the list `key`; empty if it is not there.
    pub(super) fn items(&self, key: &'static str) -> Vec<&'a Spanned<DeValue<'a>>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        if let Some(list) = value.get_ref().as_array() {
            return list.iter().collect();
        }
        self.problems.error(&value.span(), format!("{key}: must be a list"));
        Vec::new()
    }

    /// The entries of the table `key`, which may have any key.
    pub(super) fn entries(
        &self,
        key: &'static str,
    ) -> Vec<(&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        self.as_table(key, value).map(|table| table.iter().collect()).unwrap_or_default()
    }

    /// The value of `key` as it stands.
    pub(super) fn raw(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(self.section.keys.contains(&key), "{key} is not in keys.rs");
        self.table?.get(key)
    }

    /// The place of `key`, or of the table if it is not there.
    pub(super) fn place_of(&self, key: &'static str) -> Range<usize> {
        self.raw(key).map_or_else(|| self.at.clone(), Spanned::span)
    }

    fn as_table(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Option<&'a DeTable<'a>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.problems.error(
                &value.span(),
                format!("{key}: must be a table, not {}", value.get_ref().type_str()),
            );
        }
        table
    }

    fn title_of(&self, key: &str) -> String {
        match self.section.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

fn unknown_key(
    section: &'static Section,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    problems: &Problems<'_>,
) {
    let name = key.get_ref().as_ref();
    let mut message = format!("unknown key {name:?} in {}", section.title);
    let homes = keys::homes_of(name, section);
    if !homes.is_empty() {
        message.push_str(&format!("; it belongs in {}", homes.join(" or ")));
        problems.error(&key.span(), message);
        return;
    }
    problems.suggest(&key.span(), message, values::nearest(name, section.keys.iter().copied()));
}
