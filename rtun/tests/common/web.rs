//! A client of the Web API: one connection for each request.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use rtun_lab::NetNamespace;
use serde_json::Value;

use crate::common::wait_until;

/// An API in a network namespace.
pub struct Web<'a> {
    pub machine: &'a NetNamespace,
    pub address: String,
    /// User and password.
    pub login: Option<&'static str>,
}

/// What was answered.
#[derive(Debug)]
pub struct WebAnswer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl WebAnswer {
    /// Of all that came; the status of nothing is 0.
    pub fn read(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Without its parameters: JSON needs none.
    pub fn content_type(&self) -> Option<&str> {
        let line = self.head.lines().find_map(|line| line.strip_prefix("content-type:"))?;
        line.split(';').next().map(str::trim)
    }

    /// What is wrong, with GOST's code.
    pub fn error(&self) -> (u64, String) {
        let json = self.json();
        (
            json["code"].as_u64().unwrap_or_else(|| panic!("{self:?}")),
            json["msg"].as_str().unwrap().to_owned(),
        )
    }
}

impl<'a> Web<'a> {
    /// The API of a hub that has just started, which listens shortly after the hub does.
    pub fn new(machine: &'a NetNamespace) -> Self {
        Self::at(machine, "127.0.0.1:18080")
    }

    /// The same at this address, as this machine reaches it.
    pub fn at(machine: &'a NetNamespace, address: &str) -> Self {
        let address = address.to_owned();
        wait_until("the Web API", || machine.run(|| TcpStream::connect(&address)).unwrap().is_ok());
        Self { machine, address, login: None }
    }

    pub fn get(&self, path: &str) -> WebAnswer {
        self.ask("GET", path, &[], "")
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> WebAnswer {
        self.ask(method, path, &[], &body.to_string())
    }

    /// It must be done.
    pub fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(method, path, body);
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        assert_eq!(answer.json()["msg"], "OK");
        answer.json()
    }

    /// With these headers in addition.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> WebAnswer {
        let has_host = headers.iter().any(|header| header.starts_with("Host:"));
        let host = if has_host { String::new() } else { format!("Host: {}\r\n", self.address) };
        let login = self.login.map_or(String::new(), |login| {
            use base64::{Engine, engine::general_purpose::STANDARD};
            format!("Authorization: Basic {}\r\n", STANDARD.encode(login))
        });
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        self.raw(format!(
            "{method} {path} HTTP/1.1\r\n{host}{login}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
    }

    /// A request as it is.
    pub fn raw(&self, request: String) -> WebAnswer {
        let address = self.address.clone();
        let answer = self.machine.run(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // It may be answered before it has been read.
            let _ = stream.write_all(request.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        });
        WebAnswer::read(&answer.unwrap())
    }
}
