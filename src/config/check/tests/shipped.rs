//! What `conf/` holds: every file is right, and every key is documented with its real default.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::whole::EVERYTHING;
use super::{LISTENER, MANAGED, POOL, World, right, show};
use crate::config::dump::dump;
use crate::config::{keys, parse};

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

#[test]
fn every_file_in_conf_is_right_and_without_warnings() {
    let mut seen = 0;
    for entry in std::fs::read_dir(conf()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let env = |_: &str| Some("hunter2".to_owned());
            let world = World { env: &env, folder: &conf() };
            let found = parse("x.toml", &std::fs::read_to_string(&path).unwrap(), &world);
            let (_, warnings) =
                found.unwrap_or_else(|p| panic!("{}:\n{}", path.display(), show(&p)));
            assert_eq!(show(&warnings), "", "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 2);
}

#[test]
fn the_quickstart_is_under_ten_lines() {
    let text = std::fs::read_to_string(conf().join("quickstart.toml")).unwrap();
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).count();
    assert!(lines < 10, "{lines}");
}

/// Each heading of the README that names a key, with the text below it.
fn documented() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(conf().join("README.md")).unwrap();
    let mut found = BTreeMap::new();
    let mut key = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            key = heading.trim_matches(['#', ' ', '`']).to_owned();
            if heading.contains('`') {
                assert!(found.insert(key.clone(), String::new()).is_none(), "{key} twice");
            }
        } else if let Some(body) = found.get_mut(&key) {
            body.push_str(line);
            body.push('\n');
        }
    }
    found
}

fn known() -> BTreeSet<String> {
    let dotted = |path: &str, key: &str| {
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    };
    let of_tokens = [&keys::TOKEN_FILE, &keys::TOKEN];
    let keys = keys::ALL
        .into_iter()
        .chain(of_tokens)
        .flat_map(|s| s.keys.iter().map(|k| dotted(s.path, k)));
    // What a secret may be is described once, under a heading of its own.
    keys.chain(["secret".to_owned()]).collect()
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let documented: BTreeSet<String> = documented().into_keys().collect();
    let known = known();
    assert_eq!(known.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(documented.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_key_is_read() {
    let mut read = BTreeMap::new();
    flatten("", &dump(&right(EVERYTHING)), &mut read);
    flatten("", &dump(&right(&super::identity::with_files())), &mut read);
    flatten("", &dump(&right(&super::edge::everything())), &mut read);
    flatten("", &dump(&right(&super::health::everything())), &mut read);
    flatten("", &dump(&right(&super::edge::to_upstreams())), &mut read);
    flatten("", &dump(&right(&super::request::everything())), &mut read);
    flatten("", &dump(&right(&super::http::everything())), &mut read);
    flatten("", &dump(&right(&super::tcp::everything())), &mut read);
    let unread: Vec<String> = known().into_iter().filter(|key| !read.contains_key(key)).collect();
    // Secrets, and what is kept in files of its own, are not dumped as they are written; other tests read them.
    let elsewhere = [
        "listener.http.cookie.secret",
        "pool.token",
        "pool.unknown_sessions",
        "secret",
        "secret.env",
        "secret.file",
    ];
    let tokens =
        ["token", "token.name", "token.sha256", "token.tenant", "token.trust", "token.user"];
    assert_eq!(unread, [elsewhere.as_slice(), tokens.as_slice()].concat());
}

/// The dump of two configurations that leave everything to its default, by dotted key.
fn defaults() -> BTreeMap<String, String> {
    let consistent = format!(
        "{LISTENER}rate = {{ requests = 7 }}\n{POOL}balance = \"consistent\"\naffinity = \"user\"\n[metrics]\n"
    );
    let mut found = BTreeMap::new();
    flatten("", &dump(&right(&super::health::least())), &mut found);
    flatten("", &dump(&right(&super::edge::least_to_upstreams())), &mut found);
    flatten("", &dump(&right(&super::edge::least())), &mut found);
    flatten("", &dump(&right(&super::http::least())), &mut found);
    let tcp = format!("{LISTENER}{}{POOL}", super::tcp::TCP);
    flatten("", &dump(&right(&tcp)), &mut found);
    flatten("", &dump(&right(&consistent)), &mut found);
    // Second, because its balance is the default one.
    flatten("", &dump(&right(&format!("{LISTENER}{MANAGED}"))), &mut found);
    let jwt = format!("{LISTENER}{}{POOL}", super::identity::JWT);
    let dumped = dump(&right(&jwt));
    let identity = dumped["listener"][0]["identity"][0].as_table().unwrap();
    flatten("listener.identity", identity, &mut found);
    found
}

fn flatten(path: &str, table: &Table, found: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let dotted = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for table in items.iter().filter_map(Value::as_table) {
            flatten(&dotted, table, found);
        }
        found.insert(dotted, value.to_string());
    }
}

#[test]
fn documented_defaults_are_the_real_ones() {
    let defaults = defaults();
    let mut compared = 0;
    for (key, body) in documented() {
        let Some(said) = body.trim().strip_prefix("Default: `") else { continue };
        let said = said.split('`').next().unwrap();
        assert_eq!(defaults.get(&key).map(String::as_str), Some(said), "{key}");
        compared += 1;
    }
    assert!(compared >= 35, "{compared}");
}
