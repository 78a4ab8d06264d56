//! The methods of the server: the schema's group `server`, and what is served beside it.
//!
//! None of them is safe to pass on as it is: a CLI does not know whose session is whose.

use super::{Deny, End, Group, Route, Traits, Wording, to};
use crate::rpc::merge::{Merge, Scatter, Single};

const SESSION: Traits = to(Route::Session).on_disk();

pub(super) const GROUPS: &[Group] = &[
    // Answered by fairlead.
    to(Route::Connect).of(&["connect"]),
    to(Route::Ping).of(&["ping"]),
    // Only a CLI with a screen has a session in the foreground: every other gives these answers.
    to(Route::Local("{}")).of(&["session.getForeground"]),
    to(Route::Local(NO_FOREGROUND)).of(&["session.setForeground"]),
    // Of no use without a provider setter, which is denied: what a CLI says to an unknown requestId.
    to(Route::Local(r#"{"accepted":false}"#))
        .of(&["llmInference.httpResponseStart", "llmInference.httpResponseChunk"]),
    // Placement.
    to(Route::Create).worded(Wording::Parameter).of(&["session.create"]),
    to(Route::Resume).worded(Wording::Parameter).on_disk().of(&["session.resume"]),
    // One session, by `params.sessionId`; on disk too.
    to(Route::Fork).on_disk().of(&["sessions.fork"]),
    SESSION.end(End::Store).of(&["sessions.close"]),
    SESSION.end(End::Delete).of(&["sessions.delete"]),
    SESSION.of(&[
        "sessions.getMetadata",
        "sessions.readPersistedEvents",
        "sessions.getEventFilePath",
        "sessions.getPersistedRemoteSteerable",
        "sessions.getBoardEntryCount",
        "sessions.save",
        "sessions.releaseLock",
        "sessions.reloadPluginHooks",
        "sessions.loadDeferredRepoHooks",
        "sessions.configureSessionExtensions",
    ]),
    // Joined over all CLIs.
    to(Route::Merge(Merge::Sessions)).of(&["session.list", "sessions.list"]),
    to(Route::Merge(Merge::NonEmptyIds)).of(&["sessions.listNonEmptySessionIds"]),
    to(Route::Merge(Merge::Sizes)).of(&["sessions.getSizes"]),
    to(Route::Merge(Merge::RemoteControl)).of(&["sessions.getRemoteControlStatus"]),
    to(Route::Single(Single::LastId)).of(&["session.getLastId"]),
    to(Route::Single(Single::LastForContext)).of(&["sessions.getLastForContext"]),
    to(Route::Single(Single::ByPrefix)).of(&["sessions.findByPrefix"]),
    to(Route::Single(Single::ByTaskId)).of(&["sessions.findByTaskId"]),
    to(Route::Scatter(Scatter::ClientMetadata)).of(&["sessions.getClientMetadata"]),
    to(Route::Scatter(Scatter::InUse)).of(&["sessions.checkInUse"]),
    to(Route::Scatter(Scatter::Enrich)).of(&["sessions.enrichMetadata"]),
    to(Route::Scatter(Scatter::BulkDelete)).of(&["sessions.bulkDelete"]),
    // The same from every CLI of a fleet.
    to(Route::AnyOne).of(&[
        "status.get",
        "auth.getStatus",
        "models.list",
        "models.getBuiltInCatalog",
        "tools.list",
        "commands.list",
        "account.getQuota",
        "account.getCurrentAuth",
        "account.getAllUsers",
        "catalog.search",
        "mcp.config.list",
        "mcp.discover",
        "mcp.planInstall",
        "extensions.discover",
        "plugins.list",
        "plugins.marketplaces.list",
        "plugins.marketplaces.browse",
        "skills.discover",
        "skills.getDiscoveryPaths",
        "agents.discover",
        "agents.getDiscoveryPaths",
        "instructions.discover",
        "instructions.getDiscoveryPaths",
        "hooks.discover",
        "user.settings.get",
        "managedSettings.read",
    ]),
    // They end the CLI, start processes, put one client in charge of everybody's prompts, keys and files,
    // or give back a session that no connection is attached to.
    to(Route::Deny(Deny::Never)).of(&[
        "runtime.shutdown",
        "agentRegistry.spawn",
        "sessionFs.setProvider",
        "llmInference.setProvider",
        "registerExtensionLaunchProvider",
        "plugins.builtin.set",
        "sessions.open",
        "sessions.connect",
    ]),
    // They change the CLI for everybody. A CLI has one remote control: to start or to move it takes it away
    // from whatever session has it.
    to(Route::Deny(Deny::Policy)).of(&[
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
        "sessions.pruneOld",
        "sessions.setAdditionalPlugins",
        "sessions.startRemoteControl",
        "sessions.transferRemoteControl",
        "sessions.stopRemoteControl",
        "sessions.setRemoteControlSteering",
    ]),
];

const NO_FOREGROUND: &str = r#"{"success":false,"error":"Not running in TUI+server mode - no foreground session change handler registered"}"#;
