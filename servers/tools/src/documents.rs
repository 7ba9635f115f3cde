//! The OpenAPI documents that settings name: files beside the settings' own, which change by themselves.

use futures::future::select_all;
use mcp_system_config::ToolsSettings;
use mcp_system_kit::until_other;
use std::path::Path;

/// The documents, as they were read.
pub(crate) struct Documents(Vec<(String, String)>);

impl Documents {
    /// Reads them: before the tools are made of them, so that what changes meanwhile counts as a change.
    pub(crate) fn of(settings: &ToolsSettings) -> Self {
        let files = settings.user_tools.iter().filter_map(|tool| tool.open_api.as_ref()?.file.clone());
        let read = |file: String| {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            (file, text)
        };
        Self(files.map(read).collect())
    }

    /// Resolves when one of them is another, and tells which. One that is gone stays what it was.
    pub(crate) async fn other(&self) -> &str {
        let looks = self.0.iter().map(|(file, text)| {
            Box::pin(async move {
                until_other(Path::new(file), text).await;
                file.as_str()
            })
        });
        match looks.collect::<Vec<_>>() {
            looks if looks.is_empty() => std::future::pending().await,
            looks => select_all(looks).await.0,
        }
    }
}
