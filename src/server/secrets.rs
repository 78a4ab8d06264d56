//! Secrets that are kept in files, read again. One that is not right any more leaves the old one in force, and is logged
//! without its content. What is open stays open: a new token is for the links, watches and processes to come.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::config::{EnvValue, Managed, Secret};
use crate::rpc::mux::LinkToken;
use crate::time::Duration;
use crate::upstream::source::managed::{Credentials, Renew};

/// How often files are looked at.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// What tells one content of a file from the next; `None`: it is not there.
pub(super) fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let found = std::fs::metadata(file).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// Follows the token of CLIs that run elsewhere, for as long as the process runs; `put` is told each new one.
pub(super) async fn follow(pool: String, mut token: Secret, put: impl Fn(LinkToken)) {
    let Some(file) = token.file().map(Path::to_owned) else { return };
    let mut seen = stamp(&file);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = stamp(&file);
        if now == seen {
            continue;
        }
        seen = now;
        if reread(&pool, "token", &mut token) {
            put(link_token(&token));
        }
    }
}

/// What each process of a managed CLI is given: what its secrets are when it starts. `put` is told its token first: no
/// process that has another one is left then.
pub(super) fn renew(
    pool: &str,
    managed: &Managed,
    token: Option<&Secret>,
    put: impl Fn(Option<LinkToken>) + Send + Sync + 'static,
) -> Arc<Renew> {
    let pool = pool.to_owned();
    let held = Mutex::new((managed.env.clone(), token.cloned()));
    Arc::new(move || {
        let (env, token) = &mut *held.lock();
        for (name, value) in env.iter_mut() {
            if let EnvValue::Secret(secret) = value {
                reread(&pool, name, secret);
            }
        }
        if let Some(token) = token {
            reread(&pool, "token", token);
        }
        put(token.as_ref().map(link_token));
        Credentials {
            env: env.iter().map(|(name, v)| (name.clone(), v.expose().to_owned())).collect(),
            token: token.as_ref().map(|token| token.expose().to_owned()),
        }
    })
}

/// What links and watches present.
pub(super) fn link_token(token: &Secret) -> LinkToken {
    LinkToken(token.expose().to_owned())
}

/// Reads a secret that is kept in a file again. Says whether it is another one.
fn reread(pool: &str, what: &str, secret: &mut Secret) -> bool {
    if secret.file().is_none() {
        return false;
    }
    match secret.reread() {
        Ok(new) => {
            let changed = new.expose() != secret.expose();
            *secret = new;
            if changed {
                tracing::info!(pool, secret = what, "a secret was read again");
            }
            changed
        }
        Err(why) => {
            tracing::error!(
                pool,
                secret = what,
                why,
                "a secret is not right any more: the old one holds"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Upstreams, World, parse};
    use crate::observe::logging::Format;
    use crate::observe::logging::tests::logged;

    /// A file that is gone at the end.
    struct File(PathBuf);

    impl File {
        fn new(text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("fairlead-{}", uuid::Uuid::new_v4()));
            std::fs::write(&path, text).unwrap();
            File(path)
        }

        fn write(&self, text: &str) {
            std::fs::write(&self.0, text).unwrap();
        }

        fn secret(&self) -> Secret {
            let source = crate::config::SecretSource::File(self.0.clone());
            Secret::read(source, &|_| None).unwrap()
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_followed_through_bad_times_and_a_missing_file() {
        let file = File::new("canary-1");
        let (told, mut tokens) = tokio::sync::mpsc::channel(9);
        let put = move |token: LinkToken| told.try_send(token.0).unwrap();
        let following = follow("p".into(), file.secret(), put);
        let changing = async {
            for (text, expected) in [
                ("canary-2\n", Some("canary-2")),
                ("", None),
                ("canary-three", Some("canary-three")),
            ] {
                file.write(text);
                tokio::time::sleep(2 * LOOK).await;
                assert_eq!(tokens.try_recv().ok().as_deref(), expected);
            }
            std::fs::remove_file(&file.0).unwrap();
            tokio::time::sleep(2 * LOOK).await;
            file.write("canary-four");
            tokio::time::sleep(2 * LOOK).await;
            assert_eq!(tokens.try_recv().unwrap(), "canary-four");
            assert!(tokens.try_recv().is_err());
        };
        tokio::select! {
            () = following => unreachable!("it ends with the process"),
            () = changing => {}
        }
    }

    #[test]
    fn each_process_is_given_what_its_secrets_are_then_and_a_bad_one_leaves_what_was() {
        let (token, key) = (File::new("canary-t1"), File::new("canary-k1"));
        let text = format!(
            "[[listener]]\nname = \"l\"\nbind = \"127.0.0.1:1\"\npool = \"p\"\n[[pool]]\nname = \"p\"\n\
             token = {{ file = \"{}\" }}\n[pool.managed]\ncommand = [\"c\", \"{{port}}\"]\ncount = 1\n\
             env = {{ A = \"1\", K = {{ file = \"{}\" }}, E = {{ env = \"E\" }} }}\n",
            token.0.display(),
            key.0.display()
        );
        let world = World { env: &|_| Some("canary-e".into()), folder: Path::new("/") };
        let pool = parse("x", &text, &world).unwrap().0.pools.remove(0);
        let Upstreams::Managed(managed) = &pool.upstreams else { panic!("{pool:?}") };
        let told = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&told);
        let put = move |token: Option<LinkToken>| to.lock().push(token.unwrap().0);
        let renew = renew("p", managed, pool.token.as_ref(), put);
        let given = || {
            let Credentials { env, token } = renew();
            let env: Vec<String> = env.into_iter().map(|(name, v)| format!("{name}={v}")).collect();
            format!("{} {}", env.join(" "), token.unwrap())
        };
        let log = logged("info", Format::Json, || {
            assert_eq!(given(), "A=1 E=canary-e K=canary-k1 canary-t1");
            token.write("canary-t2");
            key.write("canary-k2");
            assert_eq!(given(), "A=1 E=canary-e K=canary-k2 canary-t2");
            token.write("");
            std::fs::remove_file(&key.0).unwrap();
            assert_eq!(given(), "A=1 E=canary-e K=canary-k2 canary-t2");
        });
        assert_eq!(*told.lock(), ["canary-t1", "canary-t2", "canary-t2"]);
        assert_eq!(log.matches("a secret was read again").count(), 2, "{log}");
        assert_eq!(log.matches("the old one holds").count(), 2, "{log}");
        assert!(!log.contains("canary"), "{log}");
    }
}
