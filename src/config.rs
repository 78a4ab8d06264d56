//! What was asked for: the TOML file, read into a [`Config`] that exists only if it is right.
//!
//! All mistakes of a file are found in one reading, each with its line and column. Nothing here
//! opens a socket, starts a process or keeps state: it reads the file and the secrets that it names.
//!
//! - [`model`]: the structs that the rest of fairlead takes; no TOML in them
//! - [`keys`]: the one list of keys; [`check`]: from tables to the model, and what must agree
//! - `reader`, `values`: one table, one value; `file`: text, lines and syntax
//! - [`tokens`]: the file that lists tokens
//! - [`problem`]: what is wrong and where; [`secret`]: values that are never printed; [`dump`]: back to TOML

pub mod check;
pub mod dump;
mod file;
pub mod keys;
pub mod model;
pub mod problem;
mod reader;
pub mod secret;
pub mod tokens;
mod values;

use std::io::Read as _;
use std::path::Path;

pub use check::World;
pub use model::*;
pub use problem::{Place, Problem, Severity};
pub use secret::{Secret, SecretSource};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// A configuration with its warnings, or everything that is wrong (warnings too, in the order of the file).
pub type Checked = Result<(Config, Vec<Problem>), Vec<Problem>>;

/// Reads and checks the file at `path`, with the process's environment.
///
/// Relative paths in the file are relative to its folder. A file that cannot be read is one problem without a place.
pub fn load(path: &Path) -> Checked {
    let name = path.display().to_string();
    let bytes = read(path).map_err(|why| vec![Problem::of_file(&name, why)])?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|why| vec![not_utf8(&name, &bytes, why.valid_up_to())])?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    parse(&name, text, &World::of_process(folder))
}

/// Checks `text`; `name` is what problems call the file.
pub fn parse(name: &str, text: &str, world: &World<'_>) -> Checked {
    check::check(name, text, world)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |why| format!("cannot read the file: {why}");
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("the file is larger than {}", values::show_size(MAX_FILE)));
    }
    Ok(bytes)
}

/// A text that is no configuration, under the same bound. Fails with a sentence for people.
fn read_text(path: &Path) -> Result<String, String> {
    let named = |why: String| format!("{}: {why}", path.display());
    String::from_utf8(read(path).map_err(named)?).map_err(|_| named("not UTF-8".into()))
}

fn not_utf8(name: &str, bytes: &[u8], at: usize) -> Problem {
    let before = String::from_utf8_lossy(bytes.get(..at).unwrap_or(bytes));
    let last = before.rsplit('\n').next().unwrap_or("");
    let place = Place {
        line: before.matches('\n').count() + 1,
        column: last.chars().count() + 1,
        width: 1,
        text: None,
    };
    Problem { place: Some(place), ..Problem::of_file(name, "not UTF-8".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(bytes: &[u8]) -> String {
        let path = std::env::temp_dir().join(format!("fairlead-{}.toml", uuid::Uuid::new_v4()));
        std::fs::write(&path, bytes).unwrap();
        let problems = load(&path).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].to_string().replace(&path.display().to_string(), "x")
    }

    #[test]
    fn a_byte_that_is_not_utf8_has_a_place() {
        assert_eq!(loaded(b"# a\n# \xc3\xa9\xff\n"), "x:2:4: not UTF-8");
    }

    #[test]
    fn a_file_over_the_bound_is_refused() {
        let large = vec![b'#'; usize::try_from(MAX_FILE).unwrap() + 1];
        assert_eq!(loaded(&large), "x: the file is larger than 1MiB");
    }
}
