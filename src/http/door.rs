//! Who may enter: checked before any route is looked up.
//!
//! 1. `Host` must name this daemon. A page of a stranger that rebinds its own name to our address
//!    still sends its own name.
//! 2. A request that a browser marks as coming from another site may not use the API, and a change
//!    must come from our own page or from no page at all.
//! 3. The token, as `Authorization: Bearer`, or in the cookie for which the page trades it. Only
//!    `/healthz` and `/readyz` are open. The token in a link is taken for pages alone and leaves
//!    the address bar at once.
//! 4. A body must be JSON: forms, which any page may send, are not.
//!
//! There is no CORS: nothing here is for other origins.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Settings;
use super::problem::Problem;
use super::token::Token;

/// The address of ours that the client has reached; an extension of each request.
#[derive(Clone, Copy, Debug)]
pub struct Reached(pub SocketAddr);

/// What the door needs to know.
#[derive(Debug)]
pub struct Door {
    token: Token,
    /// In lower case, without port.
    hosts: Vec<String>,
    cookie: String,
}

/// Routes that need no token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Keeps the page signed in over restarts of the browser.
const COOKIE_SECONDS: u32 = 30 * 24 * 3600;

impl Door {
    pub fn new(settings: &Settings, port: u16, token: Token) -> Door {
        let mut hosts = vec!["localhost".to_owned()];
        let listen = settings.listen.ip();
        if !listen.is_unspecified() {
            hosts.push(listen.to_string());
        }
        hosts.extend(settings.allowed_hosts.iter().map(|host| plain_host(host)));
        Door {
            token,
            hosts,
            // Cookies are not kept apart by port: two daemons on one machine need two names.
            cookie: format!("threadscape_{port}"),
        }
    }

    /// Lets the request pass, or answers it.
    pub fn check(&self, request: &Parts) -> Result<(), Box<Response>> {
        let problem = |problem: Problem| Box::new(problem.into_response());
        let host = self.host(request).map_err(problem)?;
        let path = request.uri.path();
        let is_page = !(path == "/api" || path.starts_with("/api/") || path == "/metrics");
        let is_change = !matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);

        if OPEN.contains(&path) && !is_change {
            return Ok(());
        }
        check_origin(request, &host, is_page, is_change).map_err(problem)?;

        if is_page
            && !is_change
            && let Some(offered) = token_of_link(request)
        {
            return Err(Box::new(if self.token.matches(offered.as_bytes()) {
                self.trade(request)
            } else {
                stranger(true)
            }));
        }
        let entry = self.entry(&request.headers);
        match entry {
            None => return Err(Box::new(stranger(is_page))),
            // A browser that sends the cookie sends one of these with every change as well.
            Some(Entry::Cookie)
                if is_change
                    && !request.headers.contains_key(header::ORIGIN)
                    && !request.headers.contains_key("sec-fetch-site") =>
            {
                return Err(problem(foreign(
                    "a change that is allowed by the cookie must say its Origin",
                )));
            }
            Some(_) => {}
        }
        check_body(request).map_err(problem)
    }

    /// The host that the request is for, in lower case with its port, when it is one of ours.
    fn host(&self, request: &Parts) -> Result<String, Problem> {
        let refuse = |detail: String| {
            Problem::new(StatusCode::FORBIDDEN, "foreign-host", detail)
                .field("Host")
                .fix("use the printed link, or add the name to allowed_hosts in the config file")
        };
        let mut given = request.headers.get_all(header::HOST).iter();
        let named = match (given.next(), given.next()) {
            (Some(host), None) => host.to_str().ok().map(str::to_owned),
            (Some(_), Some(_)) => None,
            (None, _) => request.uri.authority().map(ToString::to_string),
        };
        let named = named
            .filter(|host| !host.contains('@'))
            .and_then(|host| host.parse::<Authority>().ok())
            .ok_or_else(|| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    "no-host",
                    "the request needs exactly one valid Host header",
                )
                .field("Host")
            })?;
        // A request line with a whole URL names the host a second time.
        if let Some(in_line) = request.uri.authority()
            && !in_line.as_str().eq_ignore_ascii_case(named.as_str())
        {
            return Err(refuse(
                "the request line and the Host header name different hosts".to_owned(),
            ));
        }
        let host = plain_host(named.host());
        if self.is_ours(&host, request.extensions.get::<Reached>()) {
            Ok(named.as_str().to_ascii_lowercase())
        } else {
            Err(refuse(format!(
                "this daemon does not answer for the host {}",
                super::ask::quote(&host)
            )))
        }
    }

    fn is_ours(&self, host: &str, reached: Option<&Reached>) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        address.is_some_and(|address| address.is_loopback())
            || self.hosts.iter().any(|ours| ours == host)
            // Rebinding gives a stranger's name our address, it cannot give it our address as its name.
            || reached.is_some_and(|Reached(ours)| Some(ours.ip().to_canonical()) == address.map(|a| a.to_canonical()))
    }

    fn entry(&self, headers: &HeaderMap) -> Option<Entry> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let value = value.as_bytes();
            let (scheme, offered) = value.split_at_checked(7)?;
            return (scheme.eq_ignore_ascii_case(b"bearer ") && self.token.matches(offered.trim_ascii()))
                .then_some(Entry::Bearer);
        }
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(name, value)| name == self.cookie && self.token.matches(value.as_bytes()))
            .then_some(Entry::Cookie)
    }

    /// The token of the link becomes a cookie that no script can read, and the link a clean one.
    fn trade(&self, request: &Parts) -> Response {
        let rest: Vec<String> = pairs(request)
            .into_iter()
            .filter(|(name, _)| name != "token")
            .map(|(name, value)| format!("{}={}", escape(&name), escape(&value)))
            .collect();
        // One slash only: a path that begins with two would be read as another host.
        let path = format!("/{}", request.uri.path().trim_start_matches(['/', '\\']));
        let clean = if rest.is_empty() {
            path
        } else {
            format!("{path}?{}", rest.join("&"))
        };
        let cookie = format!(
            "{}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age={COOKIE_SECONDS}",
            self.cookie,
            self.token.reveal()
        );
        let mut response = StatusCode::SEE_OTHER.into_response();
        for (name, value) in [(header::LOCATION, clean), (header::SET_COOKIE, cookie)] {
            match HeaderValue::try_from(value) {
                Ok(value) => response.headers_mut().insert(name, value),
                Err(error) => return Problem::ours(&error).into_response(),
            };
        }
        response
    }
}

enum Entry {
    Bearer,
    Cookie,
}

fn pairs(request: &Parts) -> Vec<(String, String)> {
    Query::<Vec<(String, String)>>::try_from_uri(&request.uri)
        .map(|Query(pairs)| pairs)
        .unwrap_or_default()
}

fn token_of_link(request: &Parts) -> Option<String> {
    pairs(request)
        .into_iter()
        .find(|(name, _)| name == "token")
        .map(|(_, value)| value)
}

/// Percent-encodes all but what is plain in any part of a URL.
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// `[::1]:80`, `LOCALHOST.` and the like as plain names and addresses.
fn plain_host(host: &str) -> String {
    let host = host.trim().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn foreign(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail).field("Origin")
}

/// Browsers say where a request comes from; what is not a browser says nothing and needs the token.
fn check_origin(request: &Parts, host: &str, is_page: bool, is_change: bool) -> Result<(), Problem> {
    if let Some(site) = request.headers.get("sec-fetch-site") {
        let ours = matches!(site.as_bytes(), b"same-origin" | b"none");
        // A link on another page may lead to our pages: without the cookie, which is Strict.
        if !ours && (is_change || !is_page) {
            return Err(foreign("the request comes from a page of another origin"));
        }
    }
    if !is_change {
        return Ok(());
    }
    let mut origins = request.headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(()),
        (Some(origin), None) => {
            let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
            // https: a proxy that ends TLS for us keeps the Host.
            let of = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"));
            if of == Some(host) {
                Ok(())
            } else {
                Err(foreign("changes are taken from this daemon's own pages only"))
            }
        }
        (Some(_), Some(_)) => Err(foreign("there is more than one Origin")),
    }
}

fn check_body(request: &Parts) -> Result<(), Problem> {
    if !matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
        return Ok(());
    }
    let is_json = request
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if is_json {
        Ok(())
    } else {
        Err(
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "the body must be JSON")
                .field("Content-Type")
                .fix("send Content-Type: application/json"),
        )
    }
}

/// Without a token: a problem for programs, a page that says how to get in for people.
fn stranger(is_page: bool) -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "no-token", "this needs the token")
        .field("Authorization")
        .fix("send Authorization: Bearer TOKEN; the token is in the link that `threadscape serve` prints, and in the file `token` of its state folder");
    let mut response = problem.into_response();
    if is_page {
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        *response.body_mut() = axum::body::Body::from(STRANGER_PAGE);
    }
    response
}

const STRANGER_PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>threadscape</title>\n\
<h1>This page needs the link</h1>\n\
<p><code>threadscape serve</code> prints a link with a token when it starts. Open that link once: \
this browser then remembers it.</p>\n\
<p>The token is also in the file <code>token</code> of the daemon's state folder. Open \
<code>/?token=</code> followed by it.</p>\n</html>\n";

/// What every answer carries.
pub fn seal(response: &mut Response) {
    const ALWAYS: [(&str, &str); 7] = [
        (
            "content-security-policy",
            "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ];
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}
