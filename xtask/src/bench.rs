//! stub
use std::path::Path;
#[derive(clap::Subcommand)]
pub(crate) enum Scenario {
    /// x
    Embedded,
}
impl Scenario {
    pub(crate) fn run(self, _root: &Path) -> anyhow::Result<()> {
        let _ = crate::process::need;
        let _ = crate::process::capture;
        Ok(())
    }
}
