//! Build script: tells `--version` the git revision, if there is one.
//!
//! Never fails: without git, or outside a checkout, the version stands alone. `FAIRLEAD_REVISION`
//! in the environment of the build wins (images are built without `.git`).

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/cli/build.rs");
    println!("cargo::rerun-if-env-changed=FAIRLEAD_REVISION");
    // The log of HEAD grows with each commit and checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    let given = std::env::var("FAIRLEAD_REVISION").ok().filter(|revision| !revision.is_empty());
    let version = env!("CARGO_PKG_VERSION");
    let revision = given.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=FAIRLEAD_BUILD={}", revision.as_deref().unwrap_or("unknown"));
    let shown = revision.map_or_else(|| version.to_owned(), |r| format!("{version} ({r})"));
    println!("cargo::rustc-env=FAIRLEAD_VERSION={shown}");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
