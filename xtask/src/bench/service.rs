//! A service that a benchmark needs.

use std::path::{Path, PathBuf};

use crate::services;

/// A service that is up; it is ended with the value when it was not up before.
pub(crate) struct Service {
    root: PathBuf,
    name: &'static str,
    pub(crate) running: services::Running,
}

impl Service {
    /// Brings the service of that name up.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn up(root: &Path, name: &'static str) -> anyhow::Result<Self> {
        let running = services::up_one(root, name)?;
        Ok(Self { root: root.to_path_buf(), name, running })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.running.is_new
            && let Err(error) = services::down_one(&self.root, self.name)
        {
            println!("{} goes on running: {error:#}", self.name);
        }
    }
}
