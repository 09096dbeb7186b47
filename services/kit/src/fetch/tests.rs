//! What is refused before a connection, and what ends one.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{allow::is_public, *};

#[test]
fn only_public_unicast_is_public() {
    let special = "0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 \
                   192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 \
                   :: ::1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 64:ff9b::a00:1 2002:a00:1:: 2001::1 2001:db8::1 3fff::1 fc00::1 fd00::1 \
                   fe80::1 fec0::1 ff02::1";
    for text in special.split_whitespace() {
        assert!(!is_public(text.parse().expect(text)), "{text}");
    }
    for text in "1.1.1.1 8.8.8.8 100.63.0.1 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 2606:4700::1111 2a00::1"
        .split_whitespace()
    {
        assert!(is_public(text.parse().expect(text)), "{text}");
    }
}

#[tokio::test]
async fn what_no_entry_allows_is_refused_unsent() {
    let fetcher = Fetcher::new(&["example.com", "*.example.org", "https://example.net:8443"]).expect("entries");
    for url in [
        "http://example.com/",
        "https://example.com:8443/",
        "https://evil.com/",
        "https://example.com.evil.com/",
        "https://user:pass@example.com/",
        "https://example.org/",
        "https://a.b.example.org/",
        "https://example.net/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://0x7f000001/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "not a url",
    ] {
        assert!(fetcher.get(url).await.expect_err(url).is(&URL_NOT_ALLOWED), "{url}");
    }
    for entry in [
        "*",
        "*.com",
        "https://*.*.example.com",
        "ftp://example.com",
        "https://example.com/path",
        "example.com 10.0.0.0",
        "",
    ] {
        assert!(entry.parse::<Allow>().is_err(), "{entry}");
    }
}

/// Answers each connection with the text that `answer` makes of the requested path.
async fn server(answer: fn(&str) -> String) -> (u16, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let (port, hits) = (listener.local_addr().expect("address").port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&hits);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = [0u8; 2048];
            let n = socket.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..n]).into_owned();
            let path = request.split_whitespace().nth(1).unwrap_or("/").to_owned();
            let _ = socket.write_all(answer(&path).as_bytes()).await;
        }
    });
    (port, hits)
}

fn answer(path: &str) -> String {
    match path {
        "/jwks" => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}".to_owned(),
        "/near" => "HTTP/1.1 302 Found\r\nlocation: /jwks\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        "/far" => {
            "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                .to_owned()
        }
        "/loop" => "HTTP/1.1 302 Found\r\nlocation: /loop\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        "/big" => format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(BYTES_MAX + 1)),
        _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
    }
}

#[tokio::test]
async fn an_explicit_host_is_fetched_within_its_limits() {
    let (port, _) = server(answer).await;
    let base = format!("http://127.0.0.1:{port}");
    let fetcher = Fetcher::new(&[&base]).expect("entry");
    assert_eq!(fetcher.get(&format!("{base}/jwks")).await.expect("ok"), "{}");
    assert_eq!(fetcher.get(&format!("{base}/near")).await.expect("same host"), "{}");
    assert!(fetcher.get(&format!("{base}/far")).await.expect_err("other host").is(&URL_NOT_ALLOWED));
    for path in ["/loop", "/big", "/none"] {
        assert!(fetcher.get(&format!("{base}{path}")).await.expect_err(path).is(&DEPENDENCY_UNAVAILABLE), "{path}");
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_needs_its_network_named() {
    let (port, hits) = server(answer).await;
    let url = format!("http://localhost:{port}/jwks");
    let closed = Fetcher::new(&[format!("http://localhost:{port}")]).expect("entry");
    let refused = closed.get(&url).await.expect_err("inside");
    assert!(refused.is(&URL_NOT_ALLOWED), "{refused:?}");
    assert_eq!(hits.load(Ordering::SeqCst), 0, "nothing was sent");
    let open = Fetcher::new(&[format!("http://localhost:{port} 127.0.0.0/8 ::1/128")]).expect("entry");
    assert_eq!(open.get(&url).await.expect("named"), "{}");
}
