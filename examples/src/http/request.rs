//! Requests: where they end, and what is the answer. Pure functions on bytes.

use std::fmt::Write;
use std::time::SystemTime;

use httparse::{EMPTY_HEADER, Header, Status};

/// The longest request line and headers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// The longest body that is read, only to be ignored.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What came first, and what is said to it.
pub(crate) struct Answer {
    /// How many bytes the request has, with its body.
    pub(crate) request_bytes: usize,
    /// Nothing that comes after it is answered.
    pub(crate) is_last: bool,
}

/// Answers the request at the start of `received` with `text`, or with what is wrong with it, at the end of `unsent`. `None`:
/// more of it has to come first.
pub(crate) fn answer(received: &[u8], text: &str, unsent: &mut Vec<u8>) -> Option<Answer> {
    match understand(received) {
        Ok(None) => None,
        Ok(Some(request)) => {
            respond(unsent, request.status, text, &request);
            Some(Answer { request_bytes: request.bytes, is_last: request.is_last })
        }
        Err(refusal) => {
            // Where the next request would begin is unknown, or too far away.
            let request = Request { status: refusal, is_head: false, is_1_0: false, is_last: true, bytes: 0 };
            respond(unsent, refusal, text, &request);
            Some(Answer { request_bytes: received.len(), is_last: true })
        }
    }
}

type StatusLine = &'static str;

const OK: StatusLine = "200 OK";
const NOT_ALLOWED: StatusLine = "405 Method Not Allowed";

struct Request {
    status: StatusLine,
    is_head: bool,
    is_1_0: bool,
    is_last: bool,
    bytes: usize,
}

fn understand(received: &[u8]) -> Result<Option<Request>, StatusLine> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(received) {
        Ok(Status::Complete(bytes)) if bytes <= HEAD_BYTES_MAX => bytes,
        Ok(Status::Partial) if received.len() <= HEAD_BYTES_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err("431 Request Header Fields Too Large"),
        Err(httparse::Error::Version) => return Err("505 HTTP Version Not Supported"),
        Err(_) => return Err("400 Bad Request"),
    };
    let (method, target) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
    let is_1_0 = head.version == Some(0);
    if !is_1_0 && values(head.headers, "host").count() != 1 {
        return Err("400 Bad Request");
    }
    let body_bytes = body_bytes(head.headers)?;
    if received.len() < head_bytes + body_bytes {
        if has_token(head.headers, "expect", "100-continue") {
            return Err("417 Expectation Failed");
        }
        return Ok(None);
    }
    let status = match (path(target), method) {
        ("/", "GET" | "HEAD") => OK,
        ("/" | "*", _) => NOT_ALLOWED,
        _ => "404 Not Found",
    };
    Ok(Some(Request {
        status,
        is_head: method == "HEAD",
        is_1_0,
        is_last: has_token(head.headers, "connection", "close")
            || is_1_0 && !has_token(head.headers, "connection", "keep-alive"),
        bytes: head_bytes + body_bytes,
    }))
}

/// RFC 9112, section 6. Bodies of unknown length are refused.
fn body_bytes(headers: &[Header<'_>]) -> Result<usize, StatusLine> {
    if values(headers, "transfer-encoding").next().is_some() {
        return Err("411 Length Required");
    }
    let mut lengths = values(headers, "content-length");
    let Some(length) = lengths.next() else { return Ok(0) };
    let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || lengths.any(|other| other != length) {
        return Err("400 Bad Request");
    }
    match length.parse() {
        Ok(bytes) if bytes <= BODY_BYTES_MAX => Ok(bytes),
        // Too large for a number is too large as well.
        _ => Err("413 Content Too Large"),
    }
}

/// The values of all headers of that name that are text.
fn values<'a>(headers: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    // What is not text is an empty value, not an absent one.
    named.map(|header| str::from_utf8(header.value).unwrap_or_default().trim())
}

fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    values(headers, name)
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// The path of a target, which may be a whole URL, without its query.
fn path(target: &str) -> &str {
    let from_path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |slash| &rest[slash..]),
        _ => target,
    };
    from_path.split('?').next().unwrap_or_default()
}

fn respond(unsent: &mut Vec<u8>, status: StatusLine, text: &str, request: &Request) {
    let error = format!("{status}\n");
    let body = if status == OK { text } else { &error };
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n");
    let date = httpdate::fmt_http_date(SystemTime::now());
    // Writing to a string does not fail.
    let _ = write!(head, "Content-Length: {}\r\nDate: {date}\r\n", body.len());
    if status == NOT_ALLOWED {
        head.push_str("Allow: GET, HEAD\r\n");
    }
    match (request.is_last, request.is_1_0) {
        (true, _) => head.push_str("Connection: close\r\n"),
        (false, true) => head.push_str("Connection: keep-alive\r\n"),
        (false, false) => {}
    }
    head.push_str("\r\n");
    unsent.extend_from_slice(head.as_bytes());
    if !request.is_head {
        unsent.extend_from_slice(body.as_bytes());
    }
}
