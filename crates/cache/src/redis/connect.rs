//! Connections to each kind of Redis.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::cluster_routing::{
    MultipleNodeRoutingInfo, ResponsePolicy, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr,
};
use ::redis::io::tcp::TcpSettings;
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisResult,
    TlsCertificates, TlsMode, Value, cmd, from_redis_value, pipe,
};
use firstcome_core::Invalid;
use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::address::{Address, RedisKind, shown};
use super::cluster::Cluster;
use super::{RedisConfig, RedisError, Refusal};

/// Calls that may wait to be written to one connection; more wait in their callers.
const PIPELINE_CALLS_MAX: usize = 4_096;
/// Longest that finding a master, or the nodes of a cluster, may take. The client gives an
/// unreachable server a second, and asks the others meanwhile.
const SEARCH_MAX: Duration = Duration::from_secs(3);
/// How long a connection may be silent before the system asks whether the other side is there.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Makes connections.
pub(super) struct Connector {
    pub(super) address: Address,
    certificates: Option<TlsCertificates>,
    connect_timeout: Duration,
    way: Way,
}

/// How a connection is found.
enum Way {
    Standalone(Box<Client>),
    Sentinel {
        client: Box<Mutex<SentinelClient>>,
        /// Each sentinel by itself.
        sentinels: Vec<Client>,
    },
    Cluster {
        client: Box<ClusterClient>,
        /// Each named node by itself.
        nodes: Vec<Client>,
    },
}

/// A connection that many calls use at once.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    One(MultiplexedConnection),
    /// To the nodes of a cluster.
    Cluster(Cluster),
}

/// What the server says unasked.
pub(super) type Pushed = Box<dyn Fn(PushInfo) + Send + Sync>;

impl Connector {
    /// Reads the files that the configuration names; connects to nothing.
    pub(super) fn new(config: &RedisConfig) -> Result<Self, Invalid> {
        config.check()?;
        let address = config.address()?;
        let certificates = if address.is_tls { Some(certificates(config)?) } else { None };
        if address.is_tls {
            // The client takes the process's provider. Who installed one before chose.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let way = way(&address, config, &certificates).map_err(|error| invalid(config, &error))?;
        Ok(Self { address, certificates, connect_timeout: config.connect_timeout(), way })
    }

    /// The same for one node alone, at `host:port` as its cluster writes that.
    pub(super) fn of_node(&self, node: &str) -> Result<Self, RedisError> {
        let place = node.rsplit_once(':').map(|(host, port)| (host.to_owned(), port.parse()));
        let Some((host, Ok(port))) = place else {
            return Err(RedisError::unavailable(format_args!("{node:?} is no host:port")));
        };
        let (kind, servers) = (RedisKind::Standalone, vec![(host, port)]);
        let address = Address { kind, servers, ..self.address.clone() };
        let certificates = self.certificates.clone();
        let way = standalone(&address, &certificates)
            .map_err(|error| RedisError::of_connecting(&error))?;
        Ok(Self { address, certificates, connect_timeout: self.connect_timeout, way })
    }

    /// A new connection, and whether it lives: that turns false when it breaks.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(super) async fn connect(
        self: &Arc<Self>,
    ) -> Result<(Connection, Arc<AtomicBool>), RedisError> {
        let alive = Arc::new(AtomicBool::new(true));
        let heard = Arc::clone(&alive);
        let pushed: Pushed = Box::new(move |info| {
            if info.kind == PushKind::Disconnection {
                heard.store(false, Ordering::Release);
            }
        });
        let connection = match &self.way {
            // It follows its nodes by itself.
            Way::Cluster { client, nodes } => {
                let connecting = client.get_async_connection();
                match within(SEARCH_MAX, connecting).await {
                    Ok(client) => Connection::Cluster(Cluster::new(client, Arc::clone(self))),
                    Err(error) => return Err(self.diagnose(nodes, error).await),
                }
            }
            Way::Standalone(_) | Way::Sentinel { .. } => {
                Connection::One(self.connect_to_one(0, pushed).await?)
            }
        };
        Ok((connection, alive))
    }

    /// A connection to one server: to the master, or to a node of the cluster, to another one in
    /// each turn. What the server says unasked goes to `pushed`.
    pub(super) async fn connect_to_one(
        &self,
        turn: usize,
        pushed: Pushed,
    ) -> Result<MultiplexedConnection, RedisError> {
        let config = self.config().set_push_sender(move |info| {
            pushed(info);
            Ok::<(), ()>(())
        });
        match &self.way {
            Way::Standalone(client) => self.open(client, &config).await,
            Way::Cluster { nodes, .. } => self.open(&nodes[turn % nodes.len()], &config).await,
            Way::Sentinel { client, sentinels } => {
                let mut client = client.lock().await;
                let found = within(SEARCH_MAX, client.get_async_connection_with_config(&config));
                match found.await {
                    Ok(connection) => Ok(connection),
                    Err(error) => Err(self.not_found(sentinels, error).await),
                }
            }
        }
    }

    async fn open(
        &self,
        client: &Client,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        let connecting = client.get_multiplexed_async_connection_with_config(config);
        within(self.connect_timeout, connecting).await
    }

    /// Whether a server takes a command. Where no password is sent, it refuses nothing before.
    async fn ask(&self, client: &Client) -> Result<(), RedisError> {
        let mut connection = self.open(client, &self.config()).await?;
        let answer = timeout(self.connect_timeout, cmd("PING").query_async(&mut connection)).await;
        answer.map_or_else(
            |_| Err(RedisError::late(self.connect_timeout)),
            |answer: RedisResult<()>| answer.map_err(|error| RedisError::of_call(&error)),
        )
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_CALLS_MAX)
    }

    /// Why there is no connection to the cluster: its client tells little of its nodes.
    async fn diagnose(&self, nodes: &[Client], error: RedisError) -> RedisError {
        let mut found = error;
        for node in nodes {
            match self.open(node, &self.config()).await {
                Ok(mut connection) => {
                    let mut info = cmd("INFO");
                    let asked = timeout(
                        self.connect_timeout,
                        info.arg("cluster").query_async::<String>(&mut connection),
                    );
                    if let Ok(Ok(info)) = asked.await
                        && info.contains("cluster_enabled:0")
                    {
                        let (refusal, said) = (Refusal::NoCluster, "cluster_enabled:0".into());
                        return RedisError::Refused { refusal, said };
                    }
                }
                Err(error @ RedisError::Refused { .. }) => return error,
                Err(error) => found = error,
            }
        }
        found
    }

    /// Why there is no connection to the master. That one's login and the sentinels' have settings
    /// of their own, and the client does not tell who has refused which.
    async fn not_found(&self, sentinels: &[Client], error: RedisError) -> RedisError {
        if is_of_the_login(&error) {
            let refused = join_all(sentinels.iter().map(|sentinel| self.ask(sentinel))).await;
            let mut refused = refused.into_iter().filter_map(Result::err);
            if let Some(RedisError::Refused { said, .. }) = refused.find(is_of_the_login) {
                return RedisError::Refused { refusal: Refusal::SentinelPassword, said };
            }
        }
        match error {
            RedisError::Unavailable(reason) => {
                let (name, servers) = (&self.address.master, &self.address.servers);
                let servers: Vec<_> =
                    servers.iter().map(|(host, port)| shown(host, *port)).collect();
                let servers = servers.join(", ");
                RedisError::unavailable(format_args!(
                    "the sentinels at {servers} lead to no master {name:?} ({reason})"
                ))
            }
            other => other,
        }
    }
}

impl Connection {
    /// Sends a command and awaits its answer, for as long as that takes.
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => Ok(from_redis_value(connection.query(command).await?)?),
        }
    }

    /// Sends commands in one message and awaits their answers, for as long as that takes. A
    /// cluster's client takes only those of one node.
    pub(super) async fn query_all<'a, T: FromRedisValue>(
        &mut self,
        commands: impl Iterator<Item = &'a Cmd>,
    ) -> RedisResult<Vec<RedisResult<T>>> {
        let mut pipeline = pipe();
        for command in commands {
            pipeline.add_command(command.clone());
        }
        pipeline.ignore_errors();
        match self {
            Self::One(connection) => pipeline.query_async(connection).await,
            Self::Cluster(connection) => pipeline.query_async(&mut connection.client).await,
        }
    }

    /// What each server that takes writes answers, by its address; "" for the one there is.
    pub(super) async fn ask_each(&mut self, command: &Cmd) -> RedisResult<Vec<(String, Value)>> {
        match self {
            Self::One(connection) => {
                Ok(vec![(String::new(), command.query_async(connection).await?)])
            }
            Self::Cluster(connection) => {
                let all = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::Special));
                let all = RoutingInfo::MultiNode(all);
                let answers = connection.client.route_command(command.clone(), all).await?;
                let Value::Map(answers) = answers else { return Ok(Vec::new()) };
                let name = |key| from_redis_value::<String>(key).unwrap_or_default();
                Ok(answers.into_iter().map(|(key, value)| (name(key), value)).collect())
            }
        }
    }

    /// The sum of the counts for one name that all nodes answer, replicas too.
    pub(super) async fn sum_of_nodes(&mut self, command: &Cmd) -> RedisResult<usize> {
        type Count = (String, usize);
        match self {
            Self::One(connection) => Ok(command.query_async::<Count>(connection).await?.1),
            Self::Cluster(connection) => {
                let all = (MultipleNodeRoutingInfo::AllNodes, Some(ResponsePolicy::Special));
                let all = RoutingInfo::MultiNode(all);
                let answers = connection.client.route_command(command.clone(), all).await?;
                let answers: HashMap<String, Count> = from_redis_value(answers)?;
                Ok(answers.values().map(|(_, count)| count).sum())
            }
        }
    }

    /// What the server that has this key answers.
    pub(super) async fn ask_owner(&mut self, command: &Cmd, key: &str) -> RedisResult<Value> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => {
                let owner = Route::with_key(key, SlotAddr::Master);
                let owner = SingleNodeRoutingInfo::SpecificNode(owner);
                let owner = RoutingInfo::SingleNode(owner);
                connection.client.route_command(command.clone(), owner).await?.extract_error()
            }
        }
    }
}

/// Whether the user or the password is what stands in the way.
fn is_of_the_login(error: &RedisError) -> bool {
    matches!(error.refusal(), Some(Refusal::NoPassword | Refusal::WrongPassword))
}

async fn within<T>(
    limit: Duration,
    connecting: impl Future<Output = RedisResult<T>>,
) -> Result<T, RedisError> {
    match timeout(limit, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(RedisError::of_connecting(&error)),
        Err(_) => {
            let limit = limit.as_millis();
            Err(RedisError::unavailable(format_args!("no connection within {limit} ms")))
        }
    }
}

fn way(
    address: &Address,
    config: &RedisConfig,
    certificates: &Option<TlsCertificates>,
) -> RedisResult<Way> {
    let each = |login: &RedisConnectionInfo| {
        let servers = address.servers.iter();
        let clients = servers.map(|server| client(address.is_tls, server, login, certificates));
        clients.collect::<RedisResult<Vec<_>>>()
    };
    Ok(match address.kind {
        RedisKind::Standalone => standalone(address, certificates)?,
        RedisKind::Cluster => {
            let nodes = each(&login(address))?;
            let client = cluster_client(address, config, certificates.clone())?;
            Way::Cluster { client: Box::new(client), nodes }
        }
        RedisKind::Sentinel => {
            let sentinels = each(&sentinel_login(config))?;
            let client = sentinel(address, config, certificates.clone())?;
            Way::Sentinel { client: Box::new(Mutex::new(client)), sentinels }
        }
    })
}

fn standalone(address: &Address, certificates: &Option<TlsCertificates>) -> RedisResult<Way> {
    let (server, login) = (&address.servers[0], login(address));
    Ok(Way::Standalone(Box::new(client(address.is_tls, server, &login, certificates)?)))
}

fn client(
    is_tls: bool,
    (host, port): &(String, u16),
    login: &RedisConnectionInfo,
    certificates: &Option<TlsCertificates>,
) -> RedisResult<Client> {
    let info = server(is_tls, host, *port).into_connection_info()?;
    let info = info.set_redis_settings(login.clone()).set_tcp_settings(tcp());
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    }
}

fn cluster_client(
    address: &Address,
    config: &RedisConfig,
    certificates: Option<TlsCertificates>,
) -> RedisResult<ClusterClient> {
    let servers = address.servers.iter().map(|(host, port)| server(address.is_tls, host, *port));
    let mut builder = ClusterClientBuilder::new(servers)
        .use_protocol(ProtocolVersion::RESP3)
        // It would not tell a call that was executed before its connection broke.
        .retries(0)
        .connection_timeout(config.connect_timeout())
        .response_timeout(config.answer_timeout())
        .tcp_settings(tcp());
    if let Some(username) = address.login.username() {
        builder = builder.username(username);
    }
    if let Some(password) = address.login.password() {
        builder = builder.password(password);
    }
    if let Some(certificates) = certificates {
        builder = builder.tls(TlsMode::Secure).certs(certificates);
    }
    builder.build()
}

fn sentinel(
    address: &Address,
    config: &RedisConfig,
    certificates: Option<TlsCertificates>,
) -> RedisResult<SentinelClient> {
    let sentinels = address.servers.iter().map(|(host, port)| server(address.is_tls, host, *port));
    let master = SentinelServerType::Master;
    let mut builder = SentinelClientBuilder::new(sentinels, &address.master, master)?
        .set_client_to_redis_protocol(ProtocolVersion::RESP3)
        .set_client_to_redis_db(address.login.db())
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if let Some(username) = address.login.username() {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = address.login.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if !config.sentinel_username.is_empty() {
        builder = builder.set_client_to_sentinel_username(&config.sentinel_username);
    }
    if !config.sentinel_password.is_empty() {
        builder = builder.set_client_to_sentinel_password(&config.sentinel_password);
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_certificates(certificates);
    }
    builder.build()
}

fn server(is_tls: bool, host: &str, port: u16) -> ConnectionAddr {
    let host = host.to_owned();
    if is_tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

/// User, password and database, in the protocol that tells when a connection breaks.
fn login(address: &Address) -> RedisConnectionInfo {
    address.login.clone().set_protocol(ProtocolVersion::RESP3)
}

/// User and password of the sentinels.
fn sentinel_login(config: &RedisConfig) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default();
    if !config.sentinel_username.is_empty() {
        login = login.set_username(&config.sentinel_username);
    }
    if !config.sentinel_password.is_empty() {
        login = login.set_password(&config.sentinel_password);
    }
    login
}

fn tcp() -> TcpSettings {
    let keepalive = ::redis::io::tcp::socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

fn certificates(config: &RedisConfig) -> Result<TlsCertificates, Invalid> {
    let read = |key: &str, path: &str| {
        fs::read(path).map_err(|error| {
            Invalid::new(format!("redis.{key} names {path}, which cannot be read: {error}"))
        })
    };
    let root_cert = match config.ca_file.as_str() {
        "" => None,
        path => Some(read("ca_file", path)?),
    };
    let client_tls = match config.certificate_file.as_str() {
        "" => None,
        path => Some(ClientTlsConfig {
            client_cert: read("certificate_file", path)?,
            client_key: read("key_file", &config.key_file)?,
        }),
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

/// What the client has against the configuration.
fn invalid(config: &RedisConfig, error: &::redis::RedisError) -> Invalid {
    let is_of_a_file = error.kind() == ErrorKind::Io && !config.ca_file.is_empty();
    let key = if is_of_a_file { "ca_file" } else { "url" };
    Invalid::new(format!("redis.{key} cannot be used: {error}"))
}
