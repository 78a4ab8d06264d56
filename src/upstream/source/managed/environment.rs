//! The environment of a managed CLI: cleared, a short list passed on, then what is configured.
//!
//! Passed on: where programs, home, temporary files and certificates are (`PATH HOME USER LOGNAME
//! SHELL TMPDIR TZ LANG LANGUAGE LC_* SSL_CERT_FILE SSL_CERT_DIR NODE_EXTRA_CA_CERTS`), proxies
//! (`*_PROXY`, either case), and `COPILOT_*`. Credentials of fairlead's own environment are never
//! passed on, also not those of `COPILOT_*` (names that end in `_TOKEN`, `_KEY`, `_SECRET`): which
//! CLI acts with whose credential is written down in its `env`, never inherited by accident.
//! Values are never logged.

use std::ffi::{OsStr, OsString};

use super::Spec;

/// Names the CLI process and everything it starts, also what leaves its process group.
pub(super) const MARKER: &str = "FAIRLEAD_CLI";

const PASSED: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TZ",
    "LANG",
    "LANGUAGE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
];

/// The whole environment of one CLI process. Later entries win, ours last.
pub(super) fn environment(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    spec: &Spec,
    marker: &str,
) -> Vec<(OsString, OsString)> {
    let mut all: Vec<(OsString, OsString)> =
        inherited.into_iter().filter(|(name, _)| is_passed(name)).collect();
    all.extend(spec.env.iter().map(|(name, value)| (name.into(), value.into())));
    // A CLI that updates itself would run another binary than the one that was rolled out.
    all.push(("COPILOT_AUTO_UPDATE".into(), "false".into()));
    all.push(("COPILOT_HOME".into(), spec.home.clone().into_os_string()));
    if let Some(token) = &spec.token {
        all.push(("COPILOT_CONNECTION_TOKEN".into(), token.into()));
    }
    all.push((MARKER.into(), marker.into()));
    all
}

fn is_passed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let copilot = name.strip_prefix("COPILOT_").is_some_and(|rest| !is_credential(rest));
    let proxy = name.to_ascii_uppercase().ends_with("_PROXY");
    PASSED.contains(&name) || name.starts_with("LC_") || copilot || proxy
}

fn is_credential(name: &str) -> bool {
    ["TOKEN", "KEY", "SECRET"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn made(inherited: &[(&str, &str)], spec: &Spec) -> HashMap<String, String> {
        let inherited = inherited.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
        environment(inherited, spec, "m")
            .into_iter()
            .map(|(k, v)| (k.into_string().unwrap(), v.into_string().unwrap()))
            .collect()
    }

    fn spec() -> Spec {
        Spec::new("p", 0, vec!["copilot".into()], "/state/p/cli-0".into())
    }

    #[test]
    fn only_the_list_is_passed_on() {
        let inherited = [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("https_proxy", "x"),
            ("NO_PROXY", "y"),
            ("COPILOT_OFFLINE", "true"),
            ("AWS_SECRET_ACCESS_KEY", "k"),
            ("GH_TOKEN", "t"),
            ("COPILOT_GITHUB_TOKEN", "t"),
            ("COPILOT_PROVIDER_API_KEY", "k"),
            ("COPILOT_CONNECTION_TOKEN", "other"),
            ("LD_PRELOAD", "x"),
            ("NODE_OPTIONS", "x"),
        ];
        let made = made(&inherited, &spec());
        let mut names: Vec<&str> = made.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "COPILOT_AUTO_UPDATE",
                "COPILOT_HOME",
                "COPILOT_OFFLINE",
                "FAIRLEAD_CLI",
                "LC_ALL",
                "NO_PROXY",
                "PATH",
                "https_proxy"
            ]
        );
    }

    #[test]
    fn what_is_configured_beats_what_is_inherited_and_ours_beats_both() {
        let mut spec = spec();
        spec.env = vec![("PATH".into(), "/opt".into()), ("COPILOT_HOME".into(), "/root".into())];
        spec.token = Some("s3cret".into());
        let made = made(&[("PATH", "/bin"), ("COPILOT_AUTO_UPDATE", "true")], &spec);
        assert_eq!(made["PATH"], "/opt");
        assert_eq!(made["COPILOT_HOME"], "/state/p/cli-0");
        assert_eq!(made["COPILOT_AUTO_UPDATE"], "false");
        assert_eq!(made["COPILOT_CONNECTION_TOKEN"], "s3cret");
    }
}
