use super::*;
use crate::rpc::methods::{method, methods};

/// Whatever the policy.
const NEVER: [&str; 13] = [
    "runtime.shutdown",
    "agentRegistry.spawn",
    "sessionFs.setProvider",
    "llmInference.setProvider",
    "registerExtensionLaunchProvider",
    "plugins.builtin.set",
    "sessions.open",
    "sessions.connect",
    "sessions.pruneOld",
    "sessions.startRemoteControl",
    "sessions.transferRemoteControl",
    "sessions.stopRemoteControl",
    "sessions.setRemoteControlSteering",
];
/// Only where the operator allows them.
const CHANGES: [&str; 26] = [
    "account.login",
    "account.logout",
    "secrets.addFilterValues",
    "mcp.config.add",
    "mcp.config.update",
    "mcp.config.remove",
    "mcp.config.enable",
    "mcp.config.disable",
    "mcp.config.reload",
    "extensions.enable",
    "extensions.disable",
    "plugins.install",
    "plugins.uninstall",
    "plugins.update",
    "plugins.updateAll",
    "plugins.enable",
    "plugins.disable",
    "plugins.marketplaces.add",
    "plugins.marketplaces.remove",
    "plugins.marketplaces.refresh",
    "skills.config.setDisabledSkills",
    "skills.config.setSkillDisabled",
    "user.settings.reload",
    "user.settings.set",
    "managedSettings.clearCache",
    "sessions.setAdditionalPlugins",
];
/// Of whoever is alone with the CLIs, else only where the operator allows them.
const PRIVATE: [&str; 20] = [
    "auth.getStatus",
    "account.getQuota",
    "account.getCurrentAuth",
    "account.getAllUsers",
    "mcp.discover",
    "extensions.discover",
    "skills.discover",
    "skills.getDiscoveryPaths",
    "agents.discover",
    "agents.getDiscoveryPaths",
    "instructions.discover",
    "instructions.getDiscoveryPaths",
    "hooks.discover",
    "managedSettings.read",
    "user.settings.get",
    "mcp.config.list",
    "mcp.planInstall",
    "plugins.list",
    "plugins.marketplaces.list",
    "plugins.marketplaces.browse",
];
/// For everybody, about nobody's session.
const OPEN: [&str; 12] = [
    "status.get",
    "models.list",
    "models.getBuiltInCatalog",
    "tools.list",
    "commands.list",
    "catalog.search",
    "connect",
    "ping",
    "session.getForeground",
    "session.setForeground",
    "llmInference.httpResponseStart",
    "llmInference.httpResponseChunk",
];

fn named(names: &[&str]) -> Vec<&'static Method> {
    names.iter().map(|name| method(name).unwrap_or_else(|| panic!("no {name}"))).collect()
}

fn allows(policy: &Policy, name: &str) -> bool {
    policy.judge(named(&[name])[0]).is_ok()
}

/// What is asked of one session, or answered over the caller's own.
fn of_sessions(route: Route) -> bool {
    matches!(
        route,
        Route::Create
            | Route::Resume
            | Route::Session
            | Route::Fork
            | Route::Merge(_)
            | Route::Single(_)
            | Route::Scatter(_)
    )
}

#[test]
fn every_method_is_judged_as_it_is_listed_here() {
    let policies = [Callers::One, Callers::ToldApart].map(|c| Policy::new(c, &[], &[]));
    for method in methods() {
        let lists: [(&[&str], [bool; 2]); 4] = [
            (&NEVER, [false, false]),
            (&CHANGES, [false, false]),
            (&PRIVATE, [true, false]),
            (&OPEN, [true, true]),
        ];
        let listed: Vec<_> = lists.iter().filter(|(l, _)| l.contains(&method.name)).collect();
        let expected = match listed.as_slice() {
            [(_, expected)] => *expected,
            // A new method of the whole server must be put on one of the lists.
            [] if of_sessions(method.route()) => [true, true],
            other => panic!("{} is on {} lists", method.name, other.len()),
        };
        let judged = [0, 1].map(|n: usize| policies[n].judge(method).is_ok());
        assert_eq!(judged, expected, "{}", method.name);
    }
}

#[test]
fn what_is_allowed_opens_that_and_nothing_else() {
    for callers in [Callers::One, Callers::ToldApart] {
        let default = Policy::new(callers, &[], &[]);
        for method in methods() {
            let policy = Policy::new(callers, &[method], &[]);
            let opened = methods().iter().filter(|m| policy.judge(m) != default.judge(m));
            let opened: Vec<&str> = opened.map(|m| m.name).collect();
            let never = NEVER.contains(&method.name);
            let was_open = default.judge(method).is_ok();
            let expected = if never || was_open { vec![] } else { vec![method.name] };
            assert_eq!(opened, expected, "{} {callers:?}", method.name);
        }
    }
}

#[test]
fn what_is_denied_is_gone_and_nothing_else_is() {
    let default = Policy::new(Callers::One, &[], &[]);
    for method in methods() {
        let policy = Policy::new(Callers::One, &[], &[method]);
        let gone = methods().iter().filter(|m| policy.judge(m).is_ok() != default.judge(m).is_ok());
        let gone: Vec<&str> = gone.map(|m| m.name).collect();
        let kept = default.judge(method).is_err() || ["connect", "ping"].contains(&method.name);
        assert_eq!(gone, if kept { vec![] } else { vec![method.name] }, "{}", method.name);
    }
}

#[test]
fn nothing_allows_what_is_never_allowed() {
    let all: Vec<&Method> = methods().iter().collect();
    let policy = Policy::new(Callers::One, &all, &[]);
    for name in NEVER {
        assert!(!allows(&policy, name), "{name}");
    }
    let refused = methods().iter().filter(|m| policy.judge(m).is_err()).count();
    assert_eq!(refused, NEVER.len());
}

#[test]
fn what_is_allowed_and_denied_is_denied() {
    let list = named(&["user.settings.get"]);
    let policy = Policy::new(Callers::ToldApart, &list, &list);
    assert_eq!(policy.judge(list[0]), Err(Why::Taken));
}
