//! Where the files of a service lie: `target/services/<name>`.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;

use super::recorded::Recorded;
use crate::stopwatch::Stopwatch;

/// Longest that one call waits for another: that one may be installing.
const TURN_WAIT_MAX: Duration = Duration::from_secs(20 * 60);
const TURN_SAMPLE: Duration = Duration::from_millis(100);

/// The directory of one service, and where its definition lies in the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    root: PathBuf,
    directory: PathBuf,
}

impl Place {
    /// The place of the service of that name.
    pub(crate) fn of(root: &Path, name: &str) -> Self {
        Self { root: root.to_path_buf(), directory: services_dir(root).join(name) }
    }

    /// The root of the workspace.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn make(&self) -> anyhow::Result<()> {
        let shown = || format!("cannot make {}", self.directory.display());
        std::fs::create_dir_all(&self.directory).with_context(shown)
    }

    /// A file that the project keeps for its services.
    pub(crate) fn definition(&self, name: &str) -> PathBuf {
        self.root.join("xtask/services").join(name)
    }

    /// A file of this service.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The data: there only when they are whole.
    pub(crate) fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// What the server has said since its last start.
    pub(crate) fn log(&self) -> PathBuf {
        self.file("server.log")
    }

    /// What was said while the server was fetched or its data were made.
    pub(crate) fn setup_log(&self) -> PathBuf {
        self.file("setup.log")
    }

    /// The process that was started last, whether it still runs or not.
    ///
    /// # Errors
    /// When its file cannot be read or understood.
    pub(crate) fn recorded(&self) -> anyhow::Result<Option<Recorded>> {
        let file = self.file("process");
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                Recorded::parse(&text).with_context(|| file.display().to_string()).map(Some)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }

    /// Remembers the process.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn record(&self, process: &Recorded) -> anyhow::Result<()> {
        let file = self.file("process");
        std::fs::write(&file, process.to_string()).with_context(|| file.display().to_string())
    }

    /// Forgets the process.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(crate) fn forget_process(&self) -> anyhow::Result<()> {
        remove(&self.file("process"))
    }

    /// Whether a container engine was told to run the service.
    pub(crate) fn is_composed(&self) -> bool {
        self.file("composed").exists()
    }

    /// Remembers that a container engine was told so.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn record_composed(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(self.file("composed"), "")?)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(crate) fn forget_composed(&self) -> anyhow::Result<()> {
        remove(&self.file("composed"))
    }
}

/// The directory of all services.
pub(crate) fn services_dir(root: &Path) -> PathBuf {
    root.join("target/services")
}

/// Removes a file or a directory that may not be there.
///
/// # Errors
/// When it is there and stays.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    let removed =
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Waits until no other call starts or ends services; the turn lasts as long as the file is open.
///
/// # Errors
/// When the other call takes too long.
pub(crate) fn take_turn(root: &Path) -> anyhow::Result<File> {
    let directory = services_dir(root);
    std::fs::create_dir_all(&directory)?;
    let file = File::create(directory.join("turn"))?;
    let time = Stopwatch::start();
    let mut is_said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        anyhow::ensure!(time.elapsed() < TURN_WAIT_MAX, "another call holds the services");
        if !is_said {
            println!("services: waiting for another call to finish");
            is_said = true;
        }
        sleep(TURN_SAMPLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_remembered_until_it_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::of(root.path(), "redis");
        assert_eq!(place.recorded().unwrap(), None);
        place.make().unwrap();
        let process = Recorded::of(std::process::id(), 26_380).unwrap();
        place.record(&process).unwrap();
        assert_eq!(place.recorded().unwrap(), Some(process));
        place.forget_process().unwrap();
        place.forget_process().unwrap();
        assert_eq!(place.recorded().unwrap(), None);
    }

    #[test]
    fn a_record_that_makes_no_sense_is_named() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::of(root.path(), "redis");
        place.make().unwrap();
        std::fs::write(place.file("process"), "12").unwrap();
        let error = format!("{:#}", place.recorded().unwrap_err());
        assert!(error.contains("redis/process"), "{error}");
    }

    #[test]
    fn only_one_call_has_its_turn() {
        let root = tempfile::tempdir().unwrap();
        let turn = take_turn(root.path()).unwrap();
        let other = File::open(services_dir(root.path()).join("turn")).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(turn);
        other.try_lock().unwrap();
    }
}
