//! A TCP server whose behaviour can be changed, and that can be taken away and come back.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

type Answer = Arc<dyn Fn(&mut TcpStream) + Send + Sync>;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    running: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
}

impl Server {
    /// On a port of its own; closes each connection until its behaviour is set.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut server =
            Self { address, answer: Arc::new(Mutex::new(Arc::new(|_| {}))), running: None };
        server.serve(listener);
        server
    }

    /// Answers each connection so from now on.
    pub(crate) fn answer(&mut self, answer: impl Fn(&mut TcpStream) + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
        if self.running.is_none() {
            self.serve(TcpListener::bind(self.address).unwrap());
        }
    }

    /// Stops listening.
    pub(crate) fn go_away(&mut self) {
        if let Some((thread, ends)) = self.running.take() {
            ends.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(self.address);
            thread.join().unwrap();
        }
    }

    fn serve(&mut self, listener: TcpListener) {
        let (answer, ends) = (Arc::clone(&self.answer), Arc::new(AtomicBool::new(false)));
        let ending = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if ending.load(Ordering::SeqCst) {
                    return;
                }
                let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer.lock().unwrap()));
                thread::spawn(move || answer(&mut stream));
            }
        });
        self.running = Some((thread, ends));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.go_away();
    }
}

/// Writes until the other end has enough. Returns whether it took everything.
pub(crate) fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}
