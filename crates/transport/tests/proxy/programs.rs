//! Debian's proxies: tinyproxy and microsocks, with a user and a password.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rtun_settings::{ListenOptions, Login, SocketOptions};
use rtun_transport::{
    Stream,
    proxy::{ProxyError, http_connect, socks5},
    tcp::{connect, listen},
};
use tokio::task::JoinHandle;

use crate::scripted::login;

const PATIENCE: Duration = Duration::from_secs(10);

/// A program that listens on loopback; ended by its process id when dropped, and its directory removed.
struct Program {
    process: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Program {
    /// `None`, said aloud, where the program is missing. `arguments` get a directory of its own and its port.
    async fn start(name: &str, arguments: impl Fn(&Path, u16) -> Vec<String>) -> Option<Self> {
        static PROGRAMS: AtomicUsize = AtomicUsize::new(0);
        let n = PROGRAMS.fetch_add(1, Ordering::SeqCst);
        let directory =
            std::env::temp_dir().join(format!("rtun-{name}-{}-{n}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let port =
            listen("127.0.0.1:0", &ListenOptions::default()).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(name);
        command.args(arguments(&directory, port)).stdout(Stdio::null()).stderr(Stdio::null());
        let process = match command.spawn() {
            Ok(process) => process,
            Err(reason) => {
                fs::remove_dir_all(&directory).unwrap();
                let reason = format!("cannot run {name}: {reason}");
                assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "{reason}");
                // Past the test harness, which shows the output of failed tests only.
                let _ = io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
                return None;
            }
        };
        let program =
            Self { process, directory, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        program.connect().await;
        Some(program)
    }

    /// A connection to the program, once it listens and takes it.
    async fn connect(&self) -> Arc<dyn Stream> {
        let start = Instant::now();
        loop {
            let options = SocketOptions::default();
            match connect(&self.address.into(), &options, None, PATIENCE).await {
                Ok(stream) => return Arc::new(stream),
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

fn me() -> Option<Login> {
    login(Some(("me", "s3cret")))
}

/// A target that greets and echoes.
fn target() -> (String, JoinHandle<()>) {
    let listener = listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let serve = async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let stream: Arc<dyn Stream> = Arc::new(stream);
                stream.write_all(b"hello").await.unwrap();
                let mut buffer = vec![0; 65_536];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..read]).await.unwrap();
                }
            });
        }
    };
    (addr, tokio::spawn(serve))
}

/// The stream leads to a target.
async fn echoes(stream: &dyn Stream) {
    let sent: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let mut got = vec![0; sent.len() + 5];
    let (written, read) = tokio::join!(stream.write_all(&sent), stream.read_exact(&mut got));
    written.unwrap();
    read.unwrap();
    assert!(got.starts_with(b"hello") && got[5..] == sent);
}

#[tokio::test]
async fn tinyproxy_opens_the_way() {
    let Some(proxy) = Program::start("tinyproxy", |directory, port| {
        let config = directory.join("tinyproxy.conf");
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 10\nBasicAuth me s3cret\n\
             PidFile \"{0}/pid\"\nLogFile \"{0}/log\"\n",
            directory.display()
        );
        fs::write(&config, text).unwrap();
        vec!["-d".into(), "-c".into(), config.to_str().unwrap().into()]
    })
    .await
    else {
        return;
    };
    let (addr, serving) = target();
    let stream = proxy.connect().await;
    http_connect(&*stream, &addr, me().as_ref(), &[]).await.unwrap();
    echoes(&*stream).await;
    let stream = proxy.connect().await;
    let named = addr.replace("127.0.0.1", "localhost");
    http_connect(&*stream, &named, me().as_ref(), &[]).await.unwrap();
    echoes(&*stream).await;

    let error = http_connect(&*proxy.connect().await, &addr, None, &[]).await.unwrap_err();
    assert!(matches!(error, ProxyError::PasswordWanted(_)), "{error}");
    let wrong = login(Some(("me", "guess")));
    let error =
        http_connect(&*proxy.connect().await, &addr, wrong.as_ref(), &[]).await.unwrap_err();
    assert!(matches!(error, ProxyError::PasswordRefused(_)), "{error}");
    serving.abort();
    let _ = serving.await;
    let error = http_connect(&*proxy.connect().await, &addr, me().as_ref(), &[]).await.unwrap_err();
    assert!(matches!(&error, ProxyError::Refused(line) if line.contains(" 50")), "{error}");
}

#[tokio::test]
async fn microsocks_opens_the_way() {
    let Some(proxy) = Program::start("microsocks", |_, port| {
        ["-i", "127.0.0.1", "-p", &port.to_string(), "-u", "me", "-P", "s3cret"]
            .map(String::from)
            .to_vec()
    })
    .await
    else {
        return;
    };
    let (addr, serving) = target();
    let stream = proxy.connect().await;
    socks5(&*stream, &addr, me().as_ref()).await.unwrap();
    echoes(&*stream).await;
    let stream = proxy.connect().await;
    let named = addr.replace("127.0.0.1", "localhost");
    socks5(&*stream, &named, me().as_ref()).await.unwrap();
    echoes(&*stream).await;

    let error = socks5(&*proxy.connect().await, &addr, None).await.unwrap_err().to_string();
    assert!(error.starts_with("the proxy accepts none of the offered methods"), "{error}");
    let wrong = login(Some(("me", "guess")));
    let error =
        socks5(&*proxy.connect().await, &addr, wrong.as_ref()).await.unwrap_err().to_string();
    assert!(error.starts_with("the proxy refused the user and password"), "{error}");
    serving.abort();
    let _ = serving.await;
    let error =
        socks5(&*proxy.connect().await, &addr, me().as_ref()).await.unwrap_err().to_string();
    assert_eq!(error, "the proxy refused: connection refused");
    let error = http_connect(&*proxy.connect().await, &addr, me().as_ref(), &[]).await.unwrap_err();
    assert!(matches!(error, ProxyError::Http(_) | ProxyError::Io(_)), "{error}");
}
