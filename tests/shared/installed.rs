//! What npm installed for this machine, below `tests/real`.

use std::path::{Path, PathBuf};

/// The folder of the package `@github/NAME-SYSTEM-PROCESSOR` for this machine; fails where there is none.
pub(crate) fn package(name: &str) -> PathBuf {
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let github = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/node_modules/@github");
    let of = |system| github.join(format!("{name}-{system}-{processor}"));
    let flavours = ["linux", "linuxmusl"].map(of);
    let found = flavours.iter().find(|path| path.is_dir());
    found.unwrap_or_else(|| panic!("none of {flavours:?} is there: run `make deps`")).clone()
}
