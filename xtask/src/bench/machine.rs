//! The machine that the figures are from.

use std::path::Path;

/// One line: cores, processor, kernel, and the file system that the ledger lay on.
pub(crate) fn describe(data: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let processor = processor.map_or("unknown processor", |(_, name)| name.trim());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let file_system = file_system(&mounts, data).unwrap_or("unknown file system");
    format!("{cores} cores ({processor}), Linux {}, {file_system}", kernel.trim())
}

/// The kind of the file system that a path lies on: of the longest mount point above it.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x/y")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/srv/x")), Some("ext4"));
        assert_eq!(file_system("", Path::new("/srv")), None);
    }
}
