//! The door by which the fuzzer hands a query string to the reader of requests.

use axum::http::Uri;

use super::ask::Ask;

pub(crate) fn ask(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from(bytes) else { return };
    let Ok(ask) = Ask::of(
        &uri,
        &["process", "thread", "series", "from", "to", "sort", "order", "pause"],
    ) else {
        return;
    };
    let _ = ask.text("process");
    if let Ok(Some(tid)) = ask.whole("thread", 1..=4_194_304) {
        assert!((1..=4_194_304).contains(&tid));
    }
    if let Ok(Some(from)) = ask.number("from", -1e6..=0.0) {
        assert!((-1e6..=0.0).contains(&from));
    }
    let _ = ask.number("to", -1e6..=0.0);
    let _ = ask.flag("pause");
    let _ = ask.list_of("series", &["cpu_ratio", "rss_bytes", "threads"]);
    let _ = ask.sort(&["cpu_ratio", "name"]);
    let _ = ask.order();
}
