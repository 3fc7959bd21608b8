//! Kafka for tests: the brokers that all tests share, and one of a test's own, which may be killed.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::launch::{POLL, Process};
use crate::port::free_port;
use crate::{Certificates, Ended, Launch};

/// The variable that names the brokers that tests share.
const BROKERS: &str = "FIRSTCOME_TEST_KAFKA_BROKERS";
/// The variable that names the directory of Kafka's jars.
const JARS: &str = "FIRSTCOME_TEST_KAFKA_JARS";
/// Longest from a start to the moment when it lets clients in.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest that one question for that may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest that making or removing a topic may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a cluster with one node any identifier will do: 16 bytes in base64.
const CLUSTER_ID: &str = "Zmlyc3Rjb21lLXRlc3RzMQ";
/// A controller gives up a broker that it has heard nothing of for two seconds.
const HURRY: &str = "broker.session.timeout.ms=2000\nbroker.heartbeat.interval.ms=500\n";
/// Java, set to start fast and to stay small, and to say only what is wrong.
const JAVA: [&str; 4] = [
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];
/// Java takes every core while it starts: several at once are slower than one by one.
static TURN: Mutex<()> = Mutex::const_new(());
/// Asks for the calls that the broker knows (ApiVersions, version 0), with 7 to know the answer by.
const QUESTION: &[u8] = b"\0\0\0\x13\0\x12\0\0\0\0\0\x07\0\x09firstcome";

/// The brokers that tests share, as `127.0.0.1:1234`.
///
/// # Panics
/// When `FIRSTCOME_TEST_KAFKA_BROKERS` is not set.
#[must_use]
pub fn kafka_brokers() -> Vec<String> {
    needed(BROKERS).split(',').map(str::to_owned).collect()
}

/// What Kafka's own `kafka-configs.sh` says to these arguments, when it does what they ask for.
///
/// # Panics
/// When Java or the jars are missing, or it fails.
pub async fn kafka_configs(arguments: &[&str]) -> String {
    let ended = java().arguments(&["kafka.admin.ConfigCommand"]).arguments(arguments).run().await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// Removes a topic of the brokers that tests share.
///
/// # Panics
/// When they do not do so.
pub async fn remove_kafka_topic(name: &str) {
    let brokers = kafka_brokers();
    // The call DeleteTopics, version 1.
    change_topic(brokers.first().expect("a broker"), [20, 1], name, &[]).await;
}

/// Makes a topic whose partitions are each on the broker with this id and nowhere else, and whose
/// records have the broker's time.
///
/// # Panics
/// When the broker does not do so.
pub async fn make_kafka_topic(broker: &str, name: &str, leaders: &[i32]) {
    let number = |count: usize| u32::try_from(count).expect("a few").to_be_bytes();
    let text = |text: &str| {
        let length = u16::try_from(text.len()).expect("a short text").to_be_bytes();
        [&length[..], text.as_bytes()].concat()
    };
    // How many partitions and copies is told by the list of these; each has a list of one broker.
    let mut rest = [&[0xff; 6][..], &number(leaders.len())].concat();
    for (partition, leader) in leaders.iter().enumerate() {
        rest.extend([number(partition), number(1), leader.to_be_bytes()].concat());
    }
    rest.extend(number(1));
    rest.extend([text("message.timestamp.type"), text("LogAppendTime")].concat());
    // The call CreateTopics, version 2.
    change_topic(broker, [19, 2], name, &rest).await;
}

/// A call with a list of one topic: its name, and the rest of what is told of it.
async fn change_topic(broker: &str, [call, version]: [u8; 2], name: &str, rest: &[u8]) {
    let mut stream = TcpStream::connect(broker).await.expect("a broker listens");
    // Which call, with 7 to know the answer by, and no client's name; then the list, and for how
    // many milliseconds the broker may wait. To make a topic, 0 is to do so.
    let head = [0, call, 0, version, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 1];
    let length = u16::try_from(name.len()).expect("a short name").to_be_bytes();
    let mut body = [&head[..], &length, name.as_bytes(), rest, &10_000_u32.to_be_bytes()].concat();
    if !rest.is_empty() {
        body.push(0);
    }
    let size = u32::try_from(body.len()).expect("a short request").to_be_bytes();
    stream.write_all(&[&size[..], &body].concat()).await.expect("a broker reads");
    // Its length, our number, how long it held us back, one topic, its name, an error code.
    let mut answer = vec![0; 4 + 4 + 4 + 4 + 2 + name.len() + 2];
    timeout(CHANGE_TIMEOUT, stream.read_exact(&mut answer)).await.expect("in time").expect("all");
    assert_eq!(answer[answer.len() - 2..], [0, 0], "the topic {name} is not as it is to be");
}

/// A broker on loopback that is its own controller (KRaft). Dropping it kills it and removes its
/// data.
#[derive(Debug)]
pub struct KafkaServer {
    launch: Launch,
    process: Process,
    port: u16,
    controller_port: u16,
    /// Where it is secured: where it wants certificates of its clients.
    mutual_port: Option<u16>,
    /// Removed after the process, which writes there.
    directory: TempDir,
}

impl KafkaServer {
    /// Starts a broker.
    ///
    /// # Panics
    /// When Java or the jars are missing, or it does not let clients in.
    pub async fn start() -> Self {
        Self::launch(String::new(), &[], None).await
    }

    /// Starts a broker that is let back soon after it was killed: its controller gives up the one
    /// that is dead after two seconds, which a busy machine may reach.
    ///
    /// # Panics
    /// When Java or the jars are missing, or it does not let clients in.
    pub async fn start_soon_back() -> Self {
        Self::launch(HURRY.to_owned(), &[], None).await
    }

    /// Starts three brokers, each of which has what Kafka knows of its groups. Any but the first,
    /// the controller, may be lost, which is noticed after two seconds.
    ///
    /// # Panics
    /// When Java or the jars are missing, or one does not let clients in.
    pub async fn start_three() -> [Self; 3] {
        let copies = "offsets.topic.replication.factor=3\n";
        let first = Self::launch(format!("{HURRY}{copies}"), &[], None).await;
        let (second, third) = (first.beside(2, copies).await, first.beside(3, copies).await);
        [first, second, third]
    }

    /// Starts a broker that tells its clients to connect there, as a proxy's authority.
    ///
    /// # Panics
    /// When Java or the jars are missing, or it does not let clients in.
    pub async fn start_behind(authority: &str) -> Self {
        Self::launch(format!("advertised.listeners=CLIENT://{authority}\n"), &[], None).await
    }

    /// Starts a broker that speaks TLS only. It lets in this user by each of these mechanisms, with
    /// a password for each, and where it is [mutual](Self::mutual_authority) whoever has a
    /// certificate of this authority.
    ///
    /// # Panics
    /// When Java or the jars are missing, or it does not let clients in.
    pub async fn start_secured(
        certificates: &Certificates,
        user: &str,
        passwords: &[(&str, &str)],
    ) -> Self {
        let (ca, certificate, key) = certificates.paths();
        let read = |path| std::fs::read_to_string(path).expect("a certificate's file");
        let one_line = |text: String| text.trim_end().replace('\n', "\\n");
        let chain = one_line(read(certificate));
        let (key, ca) = (one_line(read(key)), one_line(read(ca)));
        let mechanisms: Vec<&str> = passwords.iter().map(|(mechanism, _)| *mechanism).collect();
        let mut properties = format!(
            "sasl.enabled.mechanisms={}\n\
             sasl.mechanism.inter.broker.protocol={}\n\
             listener.name.mutual.ssl.client.auth=required\n\
             ssl.keystore.type=PEM\nssl.keystore.certificate.chain={chain}\n\
             ssl.keystore.key={key}\nssl.truststore.type=PEM\nssl.truststore.certificates={ca}\n",
            mechanisms.join(","),
            mechanisms[0],
        );
        let mut logins = Vec::new();
        for (mechanism, password) in passwords {
            let module = match *mechanism {
                "PLAIN" => format!("plain.PlainLoginModule required user_{user}=\"{password}\""),
                _ => "scram.ScramLoginModule required".to_owned(),
            };
            let listener = format!("listener.name.client.{}", mechanism.to_lowercase());
            let package = "org.apache.kafka.common.security";
            properties += &format!("{listener}.sasl.jaas.config={package}.{module};\n");
            if *mechanism != "PLAIN" {
                let login = format!("{mechanism}=[name={user},password={password}]");
                logins.extend(["--add-scram".to_owned(), login]);
            }
        }
        let logins: Vec<&str> = logins.iter().map(String::as_str).collect();
        Self::launch(properties, &logins, Some(free_port())).await
    }

    async fn launch(more: String, format: &[&str], mutual_port: Option<u16>) -> Self {
        let _turn = TURN.lock().await;
        let (port, controller_port) = (free_port(), free_port());
        let clients = listeners(port, mutual_port);
        let own = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners={clients},CONTROLLER://127.0.0.1:{controller_port}\n"
        );
        Self::launch_node(own + &more, format, [port, controller_port], mutual_port).await
    }

    /// Starts another broker of the same cluster, with the id 2; the first has the id 1, and stays
    /// the controller.
    ///
    /// # Panics
    /// When Java or the jars are missing, or it does not let clients in.
    pub async fn start_beside(&self) -> Self {
        self.beside(2, "").await
    }

    async fn beside(&self, id: u32, more: &str) -> Self {
        let _turn = TURN.lock().await;
        let port = free_port();
        let own = format!(
            "process.roles=broker\nnode.id={id}\nlisteners=CLIENT://127.0.0.1:{port}\n\
             {HURRY}{more}"
        );
        Self::launch_node(own, &[], [port, self.controller_port], None).await
    }

    async fn launch_node(
        own: String,
        format: &[&str],
        [port, controller_port]: [u16; 2],
        mutual_port: Option<u16>,
    ) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("server.properties");
        let properties = properties(directory.path(), port, controller_port, mutual_port) + &own;
        std::fs::write(&path, properties).expect("a file for its properties");
        let path = path.to_str().expect("a path in UTF-8");
        let java = java();
        let tool = ["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "-c", path];
        let Ended { code, stdout, stderr } =
            java.clone().arguments(&tool).arguments(format).run().await;
        assert_eq!(code, Some(0), "Kafka cannot make its data: {stdout}{stderr}");
        let launch = java.arguments(&["kafka.Kafka", path]);
        let process = ready(&launch, port, mutual_port.is_some()).await;
        Self { launch, process, port, controller_port, mutual_port, directory }
    }

    /// Where it listens, as `127.0.0.1:1234`; the same after a restart.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The same where it wants a certificate of its clients, and nothing else.
    ///
    /// # Panics
    /// When it is not secured.
    #[must_use]
    pub fn mutual_authority(&self) -> String {
        format!("127.0.0.1:{}", self.mutual_port.expect("a secured broker"))
    }

    /// Kills it at once, as `kill -9`.
    ///
    /// # Panics
    /// When it had ended already.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Starts it again on the same port, with what it has on disk.
    ///
    /// # Panics
    /// When it still runs, or does not let clients in.
    pub async fn restart(&mut self) {
        let ended = self.process.child.try_wait().expect("the child's status");
        assert!(ended.is_some(), "it still runs");
        self.process = ready(&self.launch, self.port, self.mutual_port.is_some()).await;
    }

    /// Changes the last byte that it has on disk of a partition; a second call sets it right.
    ///
    /// # Panics
    /// When it has nothing of the partition.
    pub fn damage(&self, topic: &str, partition: i32) {
        let first = "00000000000000000000.log";
        let path = self.directory.path().join(format!("data/{topic}-{partition}")).join(first);
        let file = File::options().read(true).write(true).open(path).expect("the partition");
        let last = file.metadata().expect("its length").len() - 1;
        let mut byte = [0];
        file.read_exact_at(&mut byte, last).expect("a byte");
        file.write_all_at(&[!byte[0]], last).expect("room for a byte");
    }

    /// Stops it in the middle of whatever it does, as `kill -STOP`: it keeps its connections, and
    /// answers nothing until it [goes on](Self::go_on).
    ///
    /// # Panics
    /// When there is no such process.
    pub fn hang(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn go_on(&self) {
        self.process.signal("CONT");
    }
}

impl Drop for KafkaServer {
    /// A test that fails shows what its server said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (authority, said) = (self.authority(), self.process.said());
            // A failing test has nowhere better to say that this failed.
            let _ = writeln!(std::io::stderr(), "Kafka at {authority} said:\n{said}");
        }
    }
}

/// What one of the variables of the tests says.
fn needed(variable: &str) -> String {
    std::env::var(variable).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| {
        panic!(
            "this test needs Kafka, and {variable} names none: run `cargo xtask test`, which \
             starts it and sets the variable, or set it to what `cargo xtask services up` prints"
        )
    })
}

/// Java with the jars.
fn java() -> Launch {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|place| place.join("java")).find(|it| it.is_file());
    let program: PathBuf = found.unwrap_or_else(|| {
        panic!("java is missing (on Debian: `sudo apt-get install default-jre-headless`)")
    });
    let jars = format!("{}/*", needed(JARS));
    Launch::new(program, &JAVA).arguments(&["-cp", &jars])
}

/// Where clients are let in.
fn listeners(port: u16, mutual_port: Option<u16>) -> String {
    let mutual = mutual_port.map(|port| format!(",MUTUAL://127.0.0.1:{port}"));
    format!("CLIENT://127.0.0.1:{port}{}", mutual.unwrap_or_default())
}

fn properties(
    directory: &Path,
    port: u16,
    controller_port: u16,
    mutual_port: Option<u16>,
) -> String {
    let data = directory.join("data").display().to_string();
    let clients = listeners(port, mutual_port);
    let protocol = if mutual_port.is_some() { "SASL_SSL" } else { "PLAINTEXT" };
    format!(
        "advertised.listeners={clients}\n\
         listener.security.protocol.map=CLIENT:{protocol},MUTUAL:SSL,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=CLIENT\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         log.dirs={data}\n\
         offsets.topic.num.partitions=1\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n"
    )
}

/// Starts a broker and waits until it lets clients in.
async fn ready(launch: &Launch, port: u16, is_secured: bool) -> Process {
    let mut process = launch.spawn();
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        if let Some(ended) = process.child.try_wait().expect("the child's status") {
            // What it said last is what matters.
            process.wait(Duration::ZERO).await;
            panic!("{launch:?}: {ended:?} at its start; it said:\n{}", process.said());
        }
        if matches!(timeout(ANSWER_TIMEOUT, answers(port, is_secured)).await, Ok(Ok(true))) {
            return process;
        }
        let said = || process.said();
        assert!(Instant::now() < deadline, "{launch:?} is not ready; it said:\n{}", said());
        sleep(POLL).await;
    }
}

/// Whether it lets clients in. One that speaks TLS only need not understand us: it listens when it
/// is ready.
async fn answers(port: u16, is_secured: bool) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    if is_secured {
        return Ok(true);
    }
    stream.write_all(QUESTION).await?;
    // Four bytes of length, four that repeat our number, two of an error code.
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await?;
    Ok(answer[4..] == [0, 0, 0, 7, 0, 0])
}
