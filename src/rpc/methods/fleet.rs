//! The methods of the server: the schema's group `server`, and what is served beside it.
//!
//! None of them is safe to pass on as it is: a CLI does not know whose session is whose.

use super::{End, Group, Never, Route, Tells, Traits, Wording, to};
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
    // The same from every CLI of a fleet. What each tells was seen on a CLI 1.0.102, or is in the schema.
    to(Route::AnyOne(Tells::Nothing)).of(&[
        "status.get",
        "models.list",
        "models.getBuiltInCatalog",
        "tools.list",
        "commands.list",
        "catalog.search",
    ]),
    to(Route::AnyOne(Tells::Account)).of(&[
        "auth.getStatus",
        "account.getQuota",
        "account.getCurrentAuth",
        "account.getAllUsers",
    ]),
    // They look into directories of the caller's choice, too.
    to(Route::AnyOne(Tells::Host)).of(&[
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
    ]),
    to(Route::AnyOne(Tells::Settings)).of(&[
        "user.settings.get",
        "mcp.config.list",
        "mcp.planInstall",
        "plugins.list",
        "plugins.marketplaces.list",
        "plugins.marketplaces.browse",
    ]),
    to(Route::Deny(Never::Ends)).of(&["runtime.shutdown"]),
    to(Route::Deny(Never::Starts)).of(&["agentRegistry.spawn"]),
    to(Route::Deny(Never::TakesOver)).of(&[
        "sessionFs.setProvider",
        "llmInference.setProvider",
        "registerExtensionLaunchProvider",
        "plugins.builtin.set",
    ]),
    to(Route::Deny(Never::AttachesNothing)).of(&["sessions.open", "sessions.connect"]),
    to(Route::Deny(Never::DeletesAll)).of(&["sessions.pruneOld"]),
    to(Route::Deny(Never::RemoteControl)).of(&[
        "sessions.startRemoteControl",
        "sessions.transferRemoteControl",
        "sessions.stopRemoteControl",
        "sessions.setRemoteControlSteering",
    ]),
    // They change the CLI for everybody.
    to(Route::EveryOne).of(&[
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
    ]),
];

const NO_FOREGROUND: &str = r#"{"success":false,"error":"Not running in TUI+server mode - no foreground session change handler registered"}"#;
