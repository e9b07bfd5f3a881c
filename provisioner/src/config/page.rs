//! A TOML file read by hand: every value knows its line, and reading goes on after a mistake, so that all are told at
//! once. No serde: its first error is its last.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    line: usize,
    file: String,
    text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// A file and the mistakes found in it so far.
pub(super) struct Page<'t> {
    file: String,
    text: &'t str,
    mistakes: RefCell<Vec<Mistake>>,
}

/// A value and where it begins in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

impl<'t> Page<'t> {
    pub(super) fn new(file: &str, text: &'t str) -> Page<'t> {
        Page { file: file.to_owned(), text, mistakes: RefCell::default() }
    }

    /// Notes a mistake at an offset.
    pub(super) fn mistake(&self, at: usize, text: impl Into<String>) {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let mistake = Mistake { line, file: self.file.clone(), text: text.into() };
        self.mistakes.borrow_mut().push(mistake);
    }

    /// Parses the text; syntax errors are mistakes.
    pub(super) fn parse(&self) -> DeTable<'t> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let message = error.message().replace('\n', ", ");
            self.mistake(error.span().map_or(0, |span| span.start), message);
        }
        table.into_inner()
    }

    /// All mistakes in the order of the file.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort();
        mistakes.dedup();
        mistakes
    }
}

/// A table whose keys are known.
pub(super) struct Table<'p, 't> {
    pub(super) page: &'p Page<'t>,
    /// How it is named in mistakes, e.g. `[fleet]`.
    pub(super) name: String,
    pub(super) at: usize,
    table: &'p DeTable<'t>,
}

impl<'p, 't> Table<'p, 't> {
    /// Opens a table; keys that are not `known` are mistakes.
    pub(super) fn new(
        page: &'p Page<'t>,
        name: &str,
        at: usize,
        table: &'p DeTable<'t>,
        known: &[&str],
    ) -> Table<'p, 't> {
        for key in table.keys() {
            let word: &str = key.get_ref();
            if known.contains(&word) {
                continue;
            }
            let meant = known.iter().map(|other| (distance(word, other), other)).min();
            let advice = match meant {
                Some((distance, other)) if distance <= 1 + word.len() / 4 => {
                    format!("did you mean `{other}`?")
                }
                _ => format!("known are {}", known.join(", ")),
            };
            page.mistake(key.span().start, format!("{name} has no key `{word}`; {advice}"));
        }
        Table { page, name: name.to_owned(), at, table }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn get(&self, key: &str) -> Option<&'p Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    /// Notes a mistake that concerns a key, or the whole table when the key is not there.
    pub(super) fn mistake(&self, key: &str, text: impl fmt::Display) {
        let at = self.get(key).map_or(self.at, |value| value.span().start);
        self.page.mistake(at, format!("{}: {text}", self.name));
    }

    pub(super) fn string(&self, key: &str) -> Option<Placed<String>> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some("") => self.mistake(key, format!("`{key}` is empty")),
            Some(text) => return Some(Placed { value: text.to_owned(), at: value.span().start }),
            None => self.mistake(key, format!("`{key}` must be a text in quotes")),
        }
        None
    }

    /// A text that must be there.
    pub(super) fn required(&self, key: &str) -> Option<Placed<String>> {
        if !self.has(key) {
            self.mistake(key, format!("`{key}` is missing"));
        }
        self.string(key)
    }

    /// A whole number from 1 to `most`.
    pub(super) fn number(&self, key: &str, most: u32) -> Option<u32> {
        let value = self.get(key)?;
        let integer = value.get_ref().as_integer();
        let number = integer.and_then(|i| u32::from_str_radix(i.as_str(), i.radix()).ok());
        let number = number.filter(|number| (1..=most).contains(number));
        if number.is_none() {
            self.mistake(key, format!("`{key}` must be a whole number from 1 to {most}"));
        }
        number
    }

    /// Numbers from 1 to `most`: a list of them, or how many from 1 on; 1 when nothing is said.
    pub(super) fn numbers(&self, key: &str, most: u32) -> BTreeSet<u8> {
        let Some(value) = self.get(key) else { return BTreeSet::from([1]) };
        let number = |value: &DeValue<'_>| {
            let integer = value.as_integer()?;
            u32::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| *number <= most)
        };
        let read = match value.get_ref().as_array() {
            None => number(value.get_ref()).map(|count| (1..=count).collect::<Vec<_>>()),
            Some(list) => {
                list.iter().map(|entry| number(entry.get_ref()).filter(|number| *number > 0)).collect()
            }
        };
        let numbers =
            read.and_then(|read| read.into_iter().map(|number| u8::try_from(number).ok()).collect());
        numbers.unwrap_or_else(|| {
            self.mistake(
                key,
                format!("`{key}` must be how many (0 to {most}), or their numbers, e.g. [1, 3]"),
            );
            BTreeSet::new()
        })
    }

    /// A list of texts, empty when nothing is said.
    pub(super) fn strings(&self, key: &str) -> Vec<String> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let list = value.get_ref().as_array();
        let texts = list.and_then(|list| {
            list.iter().map(|entry| entry.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        texts.filter(|texts| texts.iter().all(|text| !text.is_empty())).unwrap_or_else(|| {
            self.mistake(key, format!("`{key}` must be a list of texts in quotes"));
            Vec::new()
        })
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.mistake(key, format!("`{key}` must be true or false"));
        }
        flag
    }

    pub(super) fn address(&self, key: &str) -> Option<IpAddr> {
        let text = self.string(key)?;
        let address = text.value.parse().ok();
        if address.is_none() {
            self.mistake(key, format!("`{key}` must be an IP address, not {:?}", text.value));
        }
        address
    }

    pub(super) fn addresses(&self, key: &str) -> Vec<IpAddr> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.mistake(key, format!("`{key}` must be a list of IP addresses in quotes"));
            return Vec::new();
        };
        let mut addresses = Vec::new();
        for entry in array.iter() {
            match entry.get_ref().as_str().and_then(|text| text.parse().ok()) {
                Some(address) => addresses.push(address),
                None => self.page.mistake(
                    entry.span().start,
                    format!("{}: `{key}` must list IP addresses in quotes", self.name),
                ),
            }
        }
        addresses
    }

    /// The table under a key.
    pub(super) fn table(&self, key: &str, name: &str, known: &[&str]) -> Option<Table<'p, 't>> {
        let value = self.get(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Table::new(self.page, name, value.span().start, table, known)),
            None => {
                self.mistake(key, format!("`{key}` must be a table: {name}"));
                None
            }
        }
    }

    /// The tables of a list under a key, each named after its `name`.
    pub(super) fn tables(&self, key: &str, name: &str, known: &[&str]) -> Vec<Table<'p, 't>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let entries = value.get_ref().as_array().map(|array| array.iter().collect::<Vec<_>>());
        let all_tables = entries.filter(|entries| entries.iter().all(|entry| entry.get_ref().is_table()));
        let Some(entries) = all_tables else {
            self.mistake(key, format!("`{key}` must be a list of tables: [[{name}]]"));
            return Vec::new();
        };
        let opened = entries.into_iter().filter_map(|entry| {
            let table = entry.get_ref().as_table()?;
            let called = table.get("name").and_then(|name| name.get_ref().as_str());
            let name = called.map_or(format!("[[{name}]]"), |called| format!("{name} {called:?}"));
            Some(Table::new(self.page, &name, entry.span().start, table, known))
        });
        opened.collect()
    }
}

/// How many letters have to be changed, added or removed to make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
