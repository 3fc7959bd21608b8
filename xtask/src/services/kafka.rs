//! Kafka: one broker that is its own controller (KRaft), from the jars that `pom.xml` names.

use std::io::{Read as _, Result, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use super::place::{Place, remove};
use super::{Service, daemon, install};

/// The service.
pub(crate) const SERVICE: Service = Service {
    name: "kafka",
    variable: "FIRSTCOME_TEST_KAFKA_BROKERS",
    schemes: &[],
    usual_port: 9092,
    port: 29_094,
    url: |port| format!("127.0.0.1:{port}"),
    programs: &[("java", "default-jre-headless"), ("mvn", "maven")],
    fetch,
    create,
    command,
    answers,
    end_signal: Signal::TERM,
};

/// The variable that tells the tests where the jars are.
pub(crate) const JARS_VARIABLE: &str = "FIRSTCOME_TEST_KAFKA_JARS";

/// Longest that the jars may take to download.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(10 * 60);
/// Longest that formatting the storage may take.
const CREATE_WAIT_MAX: Duration = Duration::from_secs(120);
/// Of a cluster with one node any identifier will do: 16 bytes in base64.
const CLUSTER_ID: &str = "Zmlyc3Rjb21lLXRlc3RzMA";
/// Of the broker; its heap holds what is in flight, the log is in files.
const HEAP_MIB_MAX: u32 = 512;

/// Asks for the calls that the broker knows (ApiVersions, version 0), with 7 to know the answer by.
const QUESTION: &[u8] = b"\0\0\0\x13\0\x12\0\0\0\0\0\x07\0\x09firstcome";

/// The directory of the jars, which are there then.
///
/// # Errors
/// When they cannot be downloaded.
pub(crate) fn jars(place: &Place) -> anyhow::Result<String> {
    fetch(place)?;
    Ok(place.file("lib").display().to_string())
}

/// Downloads the jars, unless those of this very `pom.xml` are there.
fn fetch(place: &Place) -> anyhow::Result<()> {
    let pom = place.definition("pom.xml");
    let (jars, partial) = (place.file("lib"), place.file("lib.partial"));
    let wanted = std::fs::read(&pom).with_context(|| pom.display().to_string())?;
    if std::fs::read(jars.join("pom.xml")).is_ok_and(|fetched| fetched == wanted) {
        return Ok(());
    }
    remove(&partial)?;
    let mut output = std::ffi::OsString::from("-DoutputDirectory=");
    output.push(&partial);
    let mut command = Command::new(install::program("mvn")?);
    command.args(["--batch-mode", "--no-transfer-progress", "-Dstyle.color=never"]);
    command.arg("--file").arg(pom);
    command.arg("dependency:copy-dependencies").arg(output);
    daemon::run(&mut command, &place.setup_log(), FETCH_WAIT_MAX)?;
    std::fs::write(partial.join("pom.xml"), wanted)?;
    remove(&jars)?;
    Ok(std::fs::rename(partial, jars)?)
}

fn create(place: &Place, data: &Path) -> anyhow::Result<()> {
    let properties = place.file("format.properties");
    std::fs::write(&properties, configuration(data, SERVICE.port))?;
    let mut command = java(place)?;
    command.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"]);
    daemon::run(command.arg(properties), &place.setup_log(), CREATE_WAIT_MAX)
}

fn command(place: &Place, port: u16) -> anyhow::Result<Command> {
    let properties = place.file("server.properties");
    std::fs::write(&properties, configuration(&place.data(), port))?;
    let mut command = java(place)?;
    command.arg("kafka.Kafka").arg(properties);
    Ok(command)
}

/// Java with the jars, set to start fast rather than to run long.
fn java(place: &Place) -> anyhow::Result<Command> {
    let mut command = Command::new(install::program("java")?);
    command.args([&format!("-Xmx{HEAP_MIB_MAX}m"), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg("-cp").arg(place.file("lib").join("*"));
    Ok(command)
}

/// The properties of the broker; its controller listens on the next port.
fn configuration(data: &Path, port: u16) -> String {
    let controller_port = port + 1;
    // In a properties file a backslash begins an escape.
    let data = data.display().to_string().replace('\\', "\\\\");
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         log.dirs={data}\n\
         offsets.topic.num.partitions=4\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n"
    )
}

/// A broker answers once it lets clients in.
fn answers(stream: &mut TcpStream) -> Result<bool> {
    stream.write_all(QUESTION)?;
    // Four bytes of length, four that repeat our number, two of an error code.
    let mut answer = [0; 10];
    stream.read_exact(&mut answer)?;
    Ok(answer[4..] == [0, 0, 0, 7, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::answer::probe;

    #[test]
    fn only_a_broker_that_answers_the_question_is_ready() {
        let (is_ready, heard) = probe(answers, b"\0\0\0\x1a\0\0\0\x07\0\0\0\0\0\x01");
        assert!(is_ready);
        let length = u32::from_be_bytes(heard[..4].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap(), heard.len() - 4);
        assert!(!probe(answers, b"\0\0\0\x06\0\0\0\x07\0\x23").0, "an error");
        assert!(!probe(answers, b"\0\0\0\x06\0\0\0\x08\0\0").0, "an answer to somebody else");
        assert!(!probe(answers, b"").0);
    }

    #[test]
    fn the_jars_are_fetched_again_only_when_the_versions_change() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::of(root.path(), "kafka");
        let pom = place.definition("pom.xml");
        std::fs::create_dir_all(pom.parent().unwrap()).unwrap();
        std::fs::create_dir_all(place.file("lib")).unwrap();
        std::fs::write(&pom, "no pom at all").unwrap();
        std::fs::write(place.file("lib/pom.xml"), "no pom at all").unwrap();
        fetch(&place).unwrap();
    }

    #[test]
    fn a_path_is_escaped_for_properties() {
        let properties = configuration(Path::new("/a\\b"), 29_094);
        assert!(properties.contains("log.dirs=/a\\\\b\n"), "{properties}");
        assert!(properties.contains("voters=1@127.0.0.1:29095\n"), "{properties}");
    }
}
