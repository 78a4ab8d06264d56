//! A module uses only modules of lower rows: read from the `use crate::` lines and paths of the source.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rows of `src/lib.rs`, lowest first. A module may use itself and every lower row.
const ROWS: &[&[&str]] = &[
    &["error", "id", "time", "caller"],
    &["want", "placement", "rate"],
    &["rpc", "wire", "balance", "session", "health", "tenancy"],
    &["identity"],
    &["config"],
    &["drain", "stream"],
    &["observe"],
    &["ledger"],
    &["upstream"],
    &["probe", "listen"],
    &["proxy"],
    &["server"],
    &["cli"],
];

/// Only these may speak to pingora.
const PINGORA: &[&str] = &["observe", "proxy", "listen", "upstream", "server"];

fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(dir: &Path, into: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                into.insert(path, text);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    all
}

/// `src/rpc/mux.rs` belongs to `rpc`; `lib.rs` and `main.rs` to nobody.
fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    let name = first.trim_end_matches(".rs").to_owned();
    (!["lib", "main"].contains(&name.as_str())).then_some(name)
}

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// The modules that a source names after `crate::`, one by one or in braces; comments do not count.
fn used(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(inner) => inner.split('}').next().unwrap().split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let word =
                name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            found.insert(word.to_owned());
        }
    }
    found
}

#[test]
fn every_module_has_its_row() {
    for path in sources().keys() {
        if let Some(module) = module_of(path).filter(|m| m != "testing") {
            assert!(row_of(&module).is_some(), "{} is in no row", path.display());
        }
    }
}

#[test]
fn a_module_uses_only_lower_rows() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(module) = module_of(&path) else { continue };
        let Some(row) = row_of(&module) else { continue };
        for other in used(&text) {
            let allowed = other == module || row_of(&other).is_some_and(|r| r < row);
            let known = row_of(&other).is_some() || other == "testing";
            if known && !allowed {
                wrong.push(format!("{} uses {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_depends_on_the_test_doubles() {
    for (path, text) in sources() {
        let inside = module_of(&path).is_none_or(|m| m == "testing");
        assert!(inside || !used(&text).contains("testing"), "{}", path.display());
    }
}

#[test]
fn only_the_edges_speak_to_pingora() {
    for (path, text) in sources() {
        let Some(module) = module_of(&path) else { continue };
        if text.lines().any(|l| !l.trim_start().starts_with("//") && l.contains("pingora::")) {
            assert!(PINGORA.contains(&module.as_str()), "{} uses pingora", path.display());
        }
    }
}

#[test]
fn the_pure_rows_know_no_clock_socket_or_runtime() {
    for (path, text) in sources() {
        let pure = module_of(&path).and_then(|m| row_of(&m)).is_some_and(|row| row <= 3);
        let clock = path.ends_with("src/time.rs");
        for word in ["tokio::", "std::net", "Instant::now", "SystemTime::now", "pingora"] {
            // An address is a word; a socket is not.
            let says = |l: &str| l.replace("std::net::IpAddr", "").contains(word);
            let code = text.lines().any(|l| !l.trim_start().starts_with("//") && says(l));
            assert!(!pure || clock || !code, "{} knows {word}", path.display());
        }
    }
}
