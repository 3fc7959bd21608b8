//! Running other programs, with their output where the reader sees it.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::Context as _;

/// A call of the cargo that runs this task, in the workspace.
pub(crate) fn cargo(root: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs a command with its output streamed.
///
/// # Errors
/// When it cannot be started, or ends without success: the message shows the command.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    anyhow::ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

/// Runs a command and gives what it printed on its standard output.
///
/// # Errors
/// Like [`run`], with what the command printed on its standard error.
pub(crate) fn capture(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
    anyhow::ensure!(
        output.status.success(),
        "`{shown}` failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed no UTF-8"))
}

/// The command as one would type it, without the path of its program.
pub(crate) fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Makes sure that a program is installed: by Debian's packages where we may, else an error that
/// says what to install.
///
/// # Errors
/// When the program is missing and cannot be installed from here.
pub(crate) fn need(program: &str, package: &str) -> anyhow::Result<()> {
    if installed(program) {
        return Ok(());
    }
    install(program, package)?;
    anyhow::ensure!(installed(program), "{package} is installed, but {program} is not found");
    Ok(())
}

/// Installs a package of Debian for what is missing.
///
/// # Errors
/// When that cannot be done from here: the message says what to install.
pub(crate) fn install(missing: &str, package: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        is_root() && installed("apt-get"),
        "{missing} is missing; install it (on Debian: `sudo apt-get install {package}`)"
    );
    println!("installing {package}");
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    let install = ["install", "-y", "-qq", "--no-install-recommends", package];
    run(Command::new("apt-get").args(install).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Whether we may do everything on this machine.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where a program lies, by `PATH`.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(program));
    places.find(|path| path.is_file())
}

fn installed(program: &str) -> bool {
    find(program).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_in_the_error() {
        run(&mut Command::new("true")).unwrap();
        let error = run(Command::new("false").arg("--now")).unwrap_err().to_string();
        assert!(error.starts_with("`false --now` failed"), "{error}");
    }

    #[test]
    fn capture_gives_what_was_printed() {
        assert_eq!(capture(Command::new("echo").arg("hello")).unwrap(), "hello\n");
        assert!(capture(&mut Command::new("no-such-program")).is_err());
    }

    #[test]
    fn a_missing_program_is_noticed() {
        assert!(installed("sh"));
        assert!(!installed("no-such-program"));
    }
}
