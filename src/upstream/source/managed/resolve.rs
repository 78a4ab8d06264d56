//! Which file to execute for a command: the native binary of a CLI, never its npm wrapper.
//!
//! The wrapper waits in `spawnSync`: a TERM ends it and leaves the CLI alive without a parent.
//! Looks at the file system only; starts nothing.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why a command cannot be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// The command is empty.
    Empty,
    /// No executable file of this name, or not in `PATH`.
    NotFound(String),
    /// It is the npm wrapper, and the package with the native binary is not installed beside it.
    WrapperOnly {
        /// The wrapper that was found.
        wrapper: PathBuf,
        /// The package that is missing.
        package: String,
    },
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Empty => f.write_str("the command is empty"),
            ResolveError::NotFound(program) => write!(
                f,
                "`{program}` is not an executable file, nor one in PATH; \
                 install it with `npm install -g @github/copilot`, or name the binary by its path"
            ),
            ResolveError::WrapperOnly { wrapper, package } => write!(
                f,
                "{} is the npm wrapper, and the native binary of {package} is not beside it; \
                 install it with `npm install -g @github/copilot` (without --omit=optional)",
                wrapper.display()
            ),
        }
    }
}

impl std::error::Error for ResolveError {}

/// The file to execute for `program`: a path, or a name that is looked up in `path` (the value of
/// `PATH`). A wrapper of `@github/copilot` is replaced by the native binary of its platform.
pub fn resolve(program: &str, path: Option<&OsStr>) -> Result<PathBuf, ResolveError> {
    if program.is_empty() {
        return Err(ResolveError::Empty);
    }
    let found = find(program, path).ok_or_else(|| ResolveError::NotFound(program.to_owned()))?;
    // Through every symbolic link: `.bin/copilot` leads to the wrapper.
    let real = std::fs::canonicalize(&found).unwrap_or_else(|_| found.clone());
    if is_wrapper(&real) { native_beside(&real, &platforms()) } else { Ok(found) }
}

fn find(program: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|file| is_executable(file));
    }
    std::env::split_paths(path?).map(|dir| dir.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A JavaScript file of the package `@github/copilot` itself.
fn is_wrapper(real: &Path) -> bool {
    let script = real.extension().is_some_and(|ext| ext == "js" || ext == "mjs" || ext == "cjs");
    script && real.ancestors().any(|dir| dir.ends_with("@github/copilot"))
}

/// Node's rule: the package is in a `node_modules` of some directory above the real path.
fn native_beside(wrapper: &Path, platforms: &[&str]) -> Result<PathBuf, ResolveError> {
    let packages =
        platforms.iter().map(|platform| format!("@github/copilot-{platform}-{}", arch()));
    for package in packages.clone() {
        for dir in wrapper.ancestors().skip(1) {
            let file = dir.join("node_modules").join(&package).join("copilot");
            if is_executable(&file) {
                return Ok(file);
            }
        }
    }
    Err(ResolveError::WrapperOnly {
        wrapper: wrapper.to_owned(),
        package: packages.collect::<Vec<_>>().join(" or "),
    })
}

/// Node's name of this processor.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// npm's names of this system, best first. What counts is the C library of the host, not the one
/// that fairlead was built with.
fn platforms() -> Vec<&'static str> {
    if std::env::consts::OS == "macos" {
        return vec!["darwin"];
    }
    let glibc = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let glibc = glibc.iter().any(|loader| Path::new(loader).exists());
    if glibc { vec!["linux"] } else { vec!["linuxmusl", "linux"] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that goes away with the test.
    struct Tree(PathBuf);

    impl Tree {
        fn new() -> Self {
            let name = format!("fairlead-resolve-{}", uuid::Uuid::new_v4());
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            Tree(dir)
        }

        fn file(&self, path: &str) -> PathBuf {
            let file = self.0.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
            file
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn installed(native: &str) -> (Tree, PathBuf) {
        let tree = Tree::new();
        let native = tree.file(native);
        tree.file("lib/node_modules/@github/copilot/npm-loader.js");
        std::fs::create_dir_all(tree.0.join("bin")).unwrap();
        let link = tree.0.join("bin/copilot");
        let loader = "../lib/node_modules/@github/copilot/npm-loader.js";
        std::os::unix::fs::symlink(loader, link).unwrap();
        (tree, native)
    }

    #[test]
    fn the_wrapper_in_path_becomes_the_native_binary_beside_it() {
        let package = format!("@github/copilot-{}-{}", platforms()[0], arch());
        for place in ["lib/node_modules/", "lib/node_modules/@github/copilot/node_modules/"] {
            let (tree, native) = installed(&format!("{place}{package}/copilot"));
            let path = tree.0.join("bin").into_os_string();
            assert_eq!(resolve("copilot", Some(&path)), Ok(native));
        }
    }

    #[test]
    fn a_wrapper_without_its_platform_package_says_what_to_install() {
        let (tree, _) = installed("lib/node_modules/@github/copilot-plan9-mips/copilot");
        let path = tree.0.join("bin").into_os_string();
        let error = resolve("copilot", Some(&path)).unwrap_err();
        assert!(matches!(error, ResolveError::WrapperOnly { .. }), "{error:?}");
        assert!(error.to_string().contains("npm install -g @github/copilot"), "{error}");
    }

    #[test]
    fn any_other_executable_is_taken_as_it_is() {
        let tree = Tree::new();
        let file = tree.file("opt/copilot");
        assert_eq!(resolve(file.to_str().unwrap(), None), Ok(file));
    }

    #[test]
    fn what_is_not_there_or_not_executable_is_not_found() {
        let tree = Tree::new();
        let file = tree.file("bin/copilot");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let path = tree.0.join("bin").into_os_string();
        for program in ["copilot", "no-such-program", file.to_str().unwrap()] {
            assert_eq!(resolve(program, Some(&path)), Err(ResolveError::NotFound(program.into())));
        }
        assert_eq!(resolve("", Some(&path)), Err(ResolveError::Empty));
    }
}
