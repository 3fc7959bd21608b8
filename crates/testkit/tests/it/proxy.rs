//! Faults of the network, in front of servers that say back what they hear.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstcome_testkit::{Direction, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

const WAIT_MAX: Duration = Duration::from_secs(30);
/// A way on loopback that moves nothing for so long is full.
const STALL: Duration = Duration::from_millis(100);

/// A server that greets with its letter and then says back what it hears.
struct Echo {
    authority: String,
    heard: Arc<Mutex<Vec<u8>>>,
    /// Connections that the other side has closed.
    ended: watch::Receiver<usize>,
}

impl Echo {
    async fn start(letter: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = watch::channel(0);
        let kept = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, end) = (Arc::clone(&kept), end.clone());
                tokio::spawn(async move {
                    serve(stream, letter, &kept).await;
                    end.send_modify(|ended| *ended += 1);
                });
            }
        });
        Self { authority, heard, ended }
    }

    fn heard(&self) -> String {
        String::from_utf8(self.heard.lock().unwrap().clone()).unwrap()
    }

    async fn wait_for_ends(&mut self, count: usize) {
        let waited = timeout(WAIT_MAX, self.ended.wait_for(|ended| *ended >= count)).await;
        waited.expect("the connections end in time").unwrap();
    }
}

async fn serve(stream: TcpStream, letter: u8, heard: &Mutex<Vec<u8>>) {
    let (mut from, mut to) = stream.into_split();
    let mut buffer = [0; 4_096];
    // A client that has gone ends this connection only.
    let _ = to.write_all(&[letter]).await;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        heard.lock().unwrap().extend_from_slice(&buffer[..read]);
        let _ = to.write_all(&buffer[..read]).await;
    }
}

/// A client that was greeted with this letter.
async fn client(proxy: &Proxy, letter: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.authority()).await.unwrap();
    assert_eq!(read(&mut stream, 1).await, letter);
    stream
}

async fn read(stream: &mut TcpStream, bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    timeout(WAIT_MAX, stream.read_exact(&mut buffer)).await.expect("an answer in time").unwrap();
    String::from_utf8(buffer).unwrap()
}

async fn call(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    read(stream, text.len()).await
}

/// What still comes, until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // Closed politely or not, it is closed.
    let _ = timeout(WAIT_MAX, stream.read_to_end(&mut rest)).await.expect("it closes in time");
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn bytes_and_ends_pass_both_ways() {
    let mut echo = Echo::start(b'a').await;
    let proxy = Proxy::start(&echo.authority).await;
    let mut one = client(&proxy, "a").await;
    let mut other = client(&proxy, "a").await;
    assert_eq!(call(&mut one, "first").await, "first");
    assert_eq!(call(&mut other, "second").await, "second");
    one.write_all(b"last").await.unwrap();
    one.shutdown().await.unwrap();
    assert_eq!(rest(&mut one).await, "last");
    echo.wait_for_ends(1).await;
    drop(other);
    echo.wait_for_ends(2).await;
}

#[tokio::test]
async fn what_goes_to_a_server_that_is_cut_off_is_lost() {
    let mut echo = Echo::start(b'a').await;
    let proxy = Proxy::start(&echo.authority).await;
    let mut cut = client(&proxy, "a").await;
    let mut quiet = client(&proxy, "a").await;
    assert_eq!(call(&mut cut, "before").await, "before");
    proxy.cut(Direction::ToServer);
    cut.write_all(b"lost").await.unwrap();
    // The other direction still works, for new connections too.
    let mut late = client(&proxy, "a").await;
    late.write_all(b"lost").await.unwrap();
    proxy.wait_for_losses(2).await;
    proxy.heal().await;
    assert_eq!(rest(&mut cut).await, "");
    assert_eq!(call(&mut quiet, "after").await, "after");
    assert_eq!(call(&mut client(&proxy, "a").await, "new").await, "new");
    echo.wait_for_ends(2).await;
    assert_eq!(echo.heard(), "beforeafternew");
}

#[tokio::test]
async fn what_comes_from_a_server_that_is_cut_off_is_lost() {
    let echo = Echo::start(b'a').await;
    let proxy = Proxy::start(&echo.authority).await;
    let mut cut = client(&proxy, "a").await;
    proxy.cut(Direction::ToClient);
    cut.write_all(b"heard").await.unwrap();
    proxy.wait_for_losses(1).await;
    assert_eq!(echo.heard(), "heard");
    let still_open = cut.try_read(&mut [0]).unwrap_err();
    assert_eq!(still_open.kind(), std::io::ErrorKind::WouldBlock);
    proxy.heal().await;
    assert_eq!(rest(&mut cut).await, "");
    assert_eq!(call(&mut client(&proxy, "a").await, "new").await, "new");
}

#[tokio::test]
async fn a_cut_keeps_nothing_of_what_it_swallows() {
    let echo = Echo::start(b'a').await;
    let proxy = Proxy::start(&echo.authority).await;
    let mut cut = client(&proxy, "a").await;
    proxy.cut(Direction::ToServer);
    // More than all buffers on the way could hold.
    let flood = vec![b'x'; 64 << 20];
    timeout(WAIT_MAX, cut.write_all(&flood)).await.expect("somebody reads").unwrap();
    assert_eq!(echo.heard(), "");
}

#[tokio::test]
async fn a_cut_also_frees_bytes_that_nobody_takes() {
    // A server that never reads.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(&listener.local_addr().unwrap().to_string()).await;
    let mut stream = TcpStream::connect(proxy.authority()).await.unwrap();
    let _server = listener.accept().await.unwrap();
    let flood = vec![b'x'; 1 << 20];
    // Until the buffers on the way are full and the proxy cannot write.
    while let Ok(writable) = timeout(STALL, stream.writable()).await {
        writable.unwrap();
        let _ = stream.try_write(&flood);
    }
    proxy.cut(Direction::ToServer);
    for _ in 0..64 {
        let written = timeout(WAIT_MAX, stream.write_all(&flood)).await;
        written.expect("the cut lets it vanish").unwrap();
    }
}

#[tokio::test]
async fn an_end_is_lost_in_a_cut_too() {
    let mut echo = Echo::start(b'a').await;
    let proxy = Proxy::start(&echo.authority).await;
    let gone = client(&proxy, "a").await;
    proxy.cut(Direction::ToServer);
    drop(gone);
    proxy.wait_for_losses(1).await;
    assert_eq!(*echo.ended.borrow(), 0);
    proxy.heal().await;
    echo.wait_for_ends(1).await;
}

#[tokio::test]
async fn a_reset_closes_what_lives_and_nothing_else() {
    let mut echo = Echo::start(b'a').await;
    let proxy = Proxy::start(&echo.authority).await;
    let mut clients = [client(&proxy, "a").await, client(&proxy, "a").await];
    proxy.reset().await;
    for client in &mut clients {
        assert_eq!(rest(client).await, "");
    }
    echo.wait_for_ends(2).await;
    assert_eq!(call(&mut client(&proxy, "a").await, "new").await, "new");
}

#[tokio::test]
async fn a_proxy_that_refuses_leaves_old_connections_alone() {
    let echo = Echo::start(b'a').await;
    let proxy = Proxy::start(&echo.authority).await;
    let mut old = client(&proxy, "a").await;
    proxy.refuse(true);
    let mut refused = TcpStream::connect(proxy.authority()).await.unwrap();
    assert_eq!(rest(&mut refused).await, "");
    assert_eq!(call(&mut old, "old").await, "old");
    proxy.refuse(false);
    assert_eq!(call(&mut client(&proxy, "a").await, "new").await, "new");
}

#[tokio::test]
async fn a_failover_moves_new_connections_only() {
    let (first, second) = (Echo::start(b'a').await, Echo::start(b'b').await);
    let proxy = Proxy::start(&first.authority).await;
    let mut old = client(&proxy, "a").await;
    proxy.set_upstream(&format!("postgres://user:password@{}/name", second.authority));
    let mut new = client(&proxy, "b").await;
    assert_eq!(call(&mut old, "old").await, "old");
    assert_eq!(call(&mut new, "new").await, "new");
    assert_eq!((first.heard().as_str(), second.heard().as_str()), ("old", "new"));
}

#[tokio::test]
async fn without_a_server_a_client_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    drop(listener);
    let proxy = Proxy::start(&authority).await;
    let mut client = TcpStream::connect(proxy.authority()).await.unwrap();
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn a_dropped_proxy_closes_everything() {
    let mut echo = Echo::start(b'a').await;
    let proxy = Proxy::start(&echo.authority).await;
    let mut client = client(&proxy, "a").await;
    let authority = proxy.authority().to_owned();
    drop(proxy);
    assert_eq!(rest(&mut client).await, "");
    echo.wait_for_ends(1).await;
    assert!(TcpStream::connect(&authority).await.is_err());
}
